"""The programs that the black-box suite needs beside a gateway, and how to talk to them.

`load` (virtual devices), `calibration` (an empty gateway) and `upstream` (the other side of the
connect sequence) are written in C in `benchmarks/native` and compiled when they are first needed.
On a machine without a compiler `substitutes` plays them in Python: slower, and the report says so.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

NATIVE: Final = Path(__file__).resolve().parents[1] / "native"
NAMES: Final = ("load", "calibration", "upstream")
FLAGS: Final = ("-O2", "-Wall")
ANSWER_LIMIT_S: Final = 120.0
STOP_LIMIT_S: Final = 10.0


@dataclass(frozen=True)
class Toolbox:
    """How each program is started."""

    folder: Path | None
    """Where the compiled ones are; None: the substitutes in Python."""

    @property
    def kind(self) -> str:
        """For the report."""
        return "C, cc -O2" if self.folder is not None else "Python (no C compiler was found)"

    def command(self, name: str, *words: object) -> list[str]:
        """The command line of a program."""
        if self.folder is not None:
            program = [str(self.folder / name)]
        else:
            program = [sys.executable, "-m", "benchmarks.stage.substitutes", name]
        return [*program, *map(str, words)]


def compiler() -> str | None:
    """The C compiler of this machine."""
    return shutil.which("cc") or shutil.which("gcc")


def build(folder: Path, *, has_compiler: bool = True) -> Toolbox:
    """Compile all programs into `folder`, or choose the substitutes.

    Raises:
        subprocess.CalledProcessError: the compiler refuses a source.
    """
    program = compiler() if has_compiler and sys.platform == "linux" else None
    if program is None:
        return Toolbox(None)
    for name in NAMES:
        source, binary = NATIVE / f"{name}.c", folder / name
        subprocess.run([program, *FLAGS, "-o", binary, source], check=True)
    return Toolbox(folder)


class Program:
    """One of them at work: takes a line, gives a line of JSON. Ends with its standard input."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._buffer = b""
        self.process: Final = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, words: str) -> None:
        """Send a command and do not wait for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(words.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, words: str, limit_s: float = ANSWER_LIMIT_S) -> dict[str, Any]:
        """Send a command; its answer.

        Raises:
            TimeoutError: none came in time.
            RuntimeError: the program ended.
        """
        self.tell(words)
        answer: dict[str, Any] = json.loads(self.read_line(limit_s))
        return answer

    def read_line(self, limit_s: float = ANSWER_LIMIT_S) -> bytes:
        """The next line that it prints; raises like `ask`."""
        assert self.process.stdout is not None
        output, end = self.process.stdout.fileno(), time.monotonic() + limit_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([output], [], [], max(end - time.monotonic(), 0))
            if not ready:
                raise TimeoutError(f"no answer within {limit_s} s: {self._command[0]}")
            chunk = os.read(output, 65536)
            if not chunk:
                raise RuntimeError(f"{self._command[0]} ended with {self.process.wait()}")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
