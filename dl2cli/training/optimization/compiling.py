"""torch.compile, and what to say where it cannot compile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dl2cli.errors import Dl2Error, ExitCode


class CannotCompile(Dl2Error):  # noqa: N818 - the name says what is wrong
    """torch.compile lacks a compiler, or cannot compile this network."""

    exit_code = ExitCode.MISSING_DEPENDENCY


@contextmanager
def compiling(is_asked: bool) -> Iterator[None]:
    """Turn errors of torch.compile, which it raises in the first steps, into a sentence.

    Raises:
        CannotCompile: in place of such an error.
    """
    if not is_asked:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # there is no public name for them

    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise CannotCompile(
            f"torch.compile cannot compile this network here ({reason}). On a CPU it needs a C++ "
            "compiler (apt-get install g++), on a GPU a C compiler; or leave out --compile."
        ) from error
