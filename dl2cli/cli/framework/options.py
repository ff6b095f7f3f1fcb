"""Declare the options of every command: each once, as an attribute of a class.

    class ExtractOptions(Options):
        dataset: Path = argument("DATASET", "The folder of the PCR dataset.")
        scans: int | None = option("Write the first K scan groups.", metavar="K", least=1)
        json: bool = JSON

Typer parses the command line. Values are converted and checked here, so that every command refuses
a wrong one in the same words, and the help has all its width for text. The types mean:

    bool                        a flag, declared with `flag` (or `no`, for what is on by default)
    int, float, str, Path       one value; with `| None`, None stands for "not given"; a Path may be
                                a URL where `url=True` says so
    Literal["a", "b"]           one of these words, which the shell can complete
    tuple[X, ...]               values between commas, or by repetition; duplicates count once
    list[X]                     one value for each repetition (values may hold commas)
    tuple[str, str]             two values
"""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import typer

from dl2cli.errors import UsageError
from dl2cli.stores.path import dataset_path, is_remote
from dl2cli.text import suggestion

Shape = Literal["one", "commas", "repeated", "pair"]


@dataclass(frozen=True)
class Declared:
    """The declaration of an option; see `option`."""

    text: str
    names: tuple[str, ...] = ()
    default: Any = None
    shown: str | None = None
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    choices: Callable[[], Iterable[str]] | None = None
    completes: Callable[[], Iterable[str]] | None = None
    aliases: tuple[str, ...] = ()
    is_argument: bool = False
    url: bool = False


def option(
    text: str,
    *names: str,
    default: Any = None,  # noqa: ANN401 - the type is the attribute's
    shown: str | None = None,
    metavar: str | None = None,
    least: float | None = None,
    most: float | None = None,
    choices: Callable[[], Iterable[str]] | None = None,
    completes: Callable[[], Iterable[str]] | None = None,
    aliases: tuple[str, ...] = (),
    url: bool = False,
) -> Any:  # noqa: ANN401
    """Declare an option that takes a value.

    Args:
        text: the help: a full sentence, verb first.
        names: such as "--loader", "-l"; by default, the attribute's name.
        default: the value if the option is not given.
        shown: the default in words, if the value does not explain it ("all cores"); "" hides it.
        metavar: the placeholder of the value in the help; by default, one that suits the type.
        least: the smallest number that is allowed.
        most: the largest number that is allowed.
        choices: returns the only words that are allowed, for checks, help and completion.
        completes: returns words for completion if others are allowed, too.
        aliases: further names, which the help does not list.
        url: whether a path may be the URL of a dataset in a store (`dl2cli.stores.path`).
    """
    return Declared(
        text, names, default, shown, metavar, least, most, choices, completes, aliases, url=url
    )


def flag(text: str, *names: str, aliases: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    """Declare a flag that is off unless given."""
    return Declared(text, names, default=False, aliases=aliases)


def no(text: str, *, aliases: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    """Declare a flag that is on; the help shows how to turn it off (--no-NAME), --NAME works too.

    `aliases` are further names that turn it off.
    """
    return Declared(text, default=True, aliases=aliases)


def argument(metavar: str, text: str, *, url: bool = False) -> Any:  # noqa: ANN401
    """Declare an argument; it may be left out if the attribute's type has `| None`.

    `url` says whether a path may be a URL, as for `option`.
    """
    return Declared(text, metavar=metavar, is_argument=True, url=url)


@dataclass(frozen=True)
class Parameter:
    """An option or argument of a command, ready to be shown, given to Typer, and converted.

    Attributes:
        attribute: where the options object holds the value.
        panel: its group in the help.
        declared: its declaration.
        base: the type of one value: bool, int, float, str or Path.
        shape: how many values it takes.
        words: the words of a Literal.
        optional: whether its type has `| None`.
    """

    attribute: str
    panel: str
    declared: Declared
    base: type
    shape: Shape
    words: tuple[str, ...]
    optional: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the help shows, the long one first; an argument's stands for its value."""
        if self.declared.is_argument:
            return (self.declared.metavar or self.attribute.upper(),)
        long = f"--{self.attribute.replace('_', '-')}"
        if self.is_negative:
            return (f"--no-{long[2:]}",)
        return self.declared.names or (long,)

    @property
    def is_negative(self) -> bool:
        """Whether this is a flag that is on and can be turned off."""
        return self.base is bool and self.declared.default is True

    @property
    def metavar(self) -> str:
        """The placeholder of the value in the help; empty for flags and arguments."""
        if self.base is bool or self.declared.is_argument:
            return ""
        if self.declared.metavar is not None:
            return self.declared.metavar
        name = {int: "N", float: "X", Path: "PATH"}.get(self.base, "NAME")
        return f"{name},..." if self.shape == "commas" else name

    @property
    def default_text(self) -> str:
        """The default as the help shows it; empty if the help shows none."""
        default = self.declared.default
        if self.declared.shown is not None:
            return self.declared.shown
        if self.base is bool or default is None or default in ((), ""):
            return ""
        return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)

    def for_typer(self) -> inspect.Parameter:
        """Return this as a parameter of a function whose options Typer reads."""
        kind: Any = {"one": str, "pair": tuple[str, str]}.get(self.shape, list[str])
        info: Any
        declared = self.declared
        completion = self.complete if self.words or declared.choices or declared.completes else None
        if declared.is_argument:
            info = typer.Argument(metavar=self.names[0], autocompletion=completion)
        elif self.base is bool:
            kind, names = bool, (*self.names, *declared.aliases)
            if self.is_negative:
                names = (f"--{self.attribute.replace('_', '-')}/{names[0]}", *(
                    f" /{alias}" for alias in declared.aliases
                ))  # fmt: skip
            info = typer.Option(*names)
        else:
            info = typer.Option(*self.names, *declared.aliases, autocompletion=completion)
        default = declared.default if kind is bool else None
        return inspect.Parameter(
            self.attribute,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind if kind is bool else kind | None, info],
        )

    def complete(self, incomplete: str) -> list[str]:
        """Return the words that begin like the text after the last comma of a list."""
        before, comma, word = incomplete.rpartition(",") if self.shape == "commas" else ("", "", "")
        word = word if comma else incomplete
        known = self.known() or (self.declared.completes or tuple)()
        return [before + comma + each for each in known if each.startswith(word)]

    def known(self) -> tuple[str, ...]:
        """Return the only words that are allowed; nothing if any value is."""
        return self.words or tuple(self.declared.choices() if self.declared.choices else ())

    def value(self, given: Any) -> Any:  # noqa: ANN401
        """Return the value that the command works with. Raises UsageError."""
        if given is None or (given == [] and self.shape != "one"):
            if self.declared.is_argument and not self.optional and self.declared.default is None:
                raise UsageError(f"{self.names[0]} is missing.")
            return self.declared.default
        if self.base is bool:
            return given
        if self.shape == "one":
            return self._one(given)
        if self.shape == "commas":
            words = (word.strip() for text in given for word in text.split(","))
            return tuple(dict.fromkeys(self._one(word) for word in words if word))
        return type(given)(self._one(text) for text in given)

    def _path(self, text: str) -> Path:
        path = dataset_path(text)
        if is_remote(path) and not self.declared.url:
            raise UsageError(f"{self.names[0]} must be on this machine, not at the URL {path}.")
        return path

    def _one(self, text: str) -> Any:  # noqa: ANN401
        name = self.names[0]
        known = self.known()
        text = {each.casefold(): each for each in known}.get(text.casefold(), text)
        if known and text not in known:
            words = f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else known[0]
            raise UsageError(f"{name} must be {words}, not {text!r}.{suggestion(text, known)}")
        if self.base is int and not re.fullmatch(r"[+-]?[0-9]{1,100}", text):
            raise UsageError(f"{name} must be a whole number, not {text!r}.")
        try:
            value: Any = self._path(text) if self.base is Path else self.base(text)
        except ValueError:
            raise UsageError(f"{name} must be a number, not {text!r}.") from None
        least, most = self.declared.least, self.declared.most
        if least is not None and not value >= least:  # a NaN, too
            raise UsageError(f"{name} must be at least {least:g}, not {value}.")
        if most is not None and not value <= most:
            raise UsageError(f"{name} must be at most {most:g}, not {value}.")
        return value


class Options:
    """The options of a command, with the values that were given, or else their defaults.

    A subclass declares them. One with a `panel` groups its own in the help; a command with several
    panels inherits from several such classes. This is not a dataclass because making one of so many
    fields costs more time than all of `dl2 --help` may take.
    """

    panel: ClassVar[str] = "Options"

    def __init__(self, **given: Any) -> None:  # noqa: ANN401
        self.given: dict[str, Any] = {}  # the values on the command line, as text
        for parameter in self.parameters():
            text = given.pop(parameter.attribute, None)
            if text not in (None, [], ()) and text is not parameter.declared.default:
                self.given[parameter.attribute] = text
            setattr(self, parameter.attribute, parameter.value(text))
        if given:
            raise TypeError(f"There are no options {', '.join(given)}.")

    def settings(self) -> dict[str, Any]:
        """Return what the command was asked for, by attribute; not how the result is shown."""
        names = (each.attribute for each in self.parameters())
        return {name: getattr(self, name) for name in names if name != "json"}

    @classmethod
    @functools.cache
    def parameters(cls) -> tuple[Parameter, ...]:
        """Return the parameters in the order in which the help shows them."""
        return tuple(
            parameter
            for each in cls.__mro__
            if issubclass(each, Options)
            for parameter in _own_parameters(each)
        )


def refuse_given(options: Options, names: tuple[str, ...], reason: str) -> None:
    """Refuse options that were given and mean nothing here. Raises UsageError."""
    for name in names:
        if name in options.given:
            raise UsageError(f"--{name.replace('_', '-')} {reason}.")


def _own_parameters(cls: type[Options]) -> Iterator[Parameter]:
    declared = {name: each for name, each in vars(cls).items() if isinstance(each, Declared)}
    kinds = get_type_hints(cls) if declared else {}
    for name, each in declared.items():
        base, shape, words, optional = _parse(kinds[name])
        panel = "Arguments" if each.is_argument else cls.panel
        yield Parameter(name, panel, each, base, shape, words, optional)


def _parse(kind: Any) -> tuple[type, Shape, tuple[str, ...], bool]:  # noqa: ANN401
    """Take an attribute's type apart: a value's type, shape and words, and whether None fits."""
    optional = False
    if get_origin(kind) in (types.UnionType, Union):
        kind = next(each for each in get_args(kind) if each is not types.NoneType)
        optional = True
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return str, "one", inner, optional
    if origin is list:
        base, _, words, _ = _parse(inner[0])
        return base, "repeated", words, optional
    if origin is tuple:
        base, _, words, _ = _parse(inner[0])
        return base, "commas" if inner[-1] is ... else "pair", words, optional
    return kind, "one", (), optional
