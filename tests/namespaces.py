"""Two machines on one: network namespaces with a wire between them, where root may make them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Machine:
    """A network namespace with one address."""

    name: str
    address: str

    def command(self, *command: object) -> list[str]:
        """Return what runs a command there."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def kill_all(self) -> None:
        """Kill everything that runs there at once, as a power failure does."""
        pids = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True
        )
        for pid in pids.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def cut_wire(self) -> None:
        """Let no more packets through: the other machine hears nothing, not even an end."""
        subprocess.run(self.command("ip", "link", "set", "wire", "down"), check=True)


@contextlib.contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Make two machines that reach each other; skips the test where that is not allowed."""
    if shutil.which("ip") is None:
        pytest.skip("ip (iproute2) is needed to make network namespaces")
    machines = (
        Machine(f"dl2-{os.getpid()}-a", "10.231.7.1"),
        Machine(f"dl2-{os.getpid()}-b", "10.231.7.2"),
    )
    made = []
    try:
        for machine in machines:
            result = subprocess.run(
                ["ip", "netns", "add", machine.name], capture_output=True, text=True, check=False
            )
            if result.returncode != 0:
                pytest.skip(f"this user cannot make network namespaces: {result.stderr.strip()}")
            made.append(machine)
        a, b = machines
        wire = ["ip", "link", "add", "wire", "netns", a.name, "type", "veth"]
        _run([*wire, "peer", "name", "wire", "netns", b.name])
        for machine in machines:
            _run(machine.command("ip", "addr", "add", f"{machine.address}/24", "dev", "wire"))
            for device in ("lo", "wire"):
                _run(machine.command("ip", "link", "set", device, "up"))
        yield a, b
    finally:
        for machine in made:
            machine.kill_all()
            subprocess.run(["ip", "netns", "del", machine.name], check=False)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
