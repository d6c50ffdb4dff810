"""The one terminal of many processes: a prefix and a colour for each."""

from __future__ import annotations

import io
import queue
import re
import threading
from collections.abc import Mapping
from typing import Final, TextIO

MAX_LINE_BYTES: Final = 16 * 1024
MAX_WAITING_LINES: Final = 10_000
COLOURS: Final = (36, 33, 35, 32, 34, 96, 93, 95)  # of the ANSI terminal; no red: that is failure
LEVEL_COLOURS: Final = {"warn ": 33, "error": 31, "fatal": 31}
CLOSE_TIMEOUT_S: Final = 1.0

_LEVEL: Final = re.compile(r"(?<=^\d\d:\d\d:\d\d\.\d{3} )(warn |error|fatal)(?= )")


class LineSplitter:
    """Cuts a stream of bytes into lines of bounded length."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._rest = b""
        self._max_bytes = max_bytes

    def feed(self, received: bytes) -> list[str]:
        """The lines that are complete now; a longer one comes in pieces."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        if len(self._rest) > self._max_bytes:
            lines.append(self._rest)
            self._rest = b""
        limit = self._max_bytes
        return [
            line[at : at + limit].decode("utf-8", "backslashreplace").rstrip("\r")
            for line in lines
            for at in range(0, max(len(line), 1), limit)
        ]

    def finish(self) -> list[str]:
        """What was left without an end of line."""
        rest, self._rest = self._rest, b""
        return [rest.decode("utf-8", "backslashreplace")] if rest else []


class Terminal:
    """Writes lines in a thread, so that a terminal that blocks does not block the gateway.

    At most 10,000 lines wait; further ones are dropped and their number is said.
    """

    def __init__(self, stream: TextIO, names: tuple[str, ...], environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._is_coloured = stream.isatty() and not environ.get("NO_COLOR")
        self._width = max(map(len, names), default=0)
        self._colours = {
            name: COLOURS[index % len(COLOURS)] for index, name in enumerate(dict.fromkeys(names))
        }
        self._waiting: queue.Queue[str | None] = queue.Queue(MAX_WAITING_LINES)
        self.dropped = 0
        self._writer = threading.Thread(target=self._write, name="terminal", daemon=True)
        self._writer.start()

    def prefixed(self, name: str, line: str) -> str:
        """A component's line as it appears."""
        mark = f"{name:<{self._width}} │"
        if self._is_coloured:
            mark = f"\x1b[{self._colours.get(name, 37)}m{mark}\x1b[0m"
            line = _LEVEL.sub(lambda word: f"\x1b[{LEVEL_COLOURS[word[0]]}m{word[0]}\x1b[0m", line)
        return f"{mark} {line}"

    def show(self, name: str, line: str) -> None:
        """Write a component's line; never blocks."""
        self.say(self.prefixed(name, line))

    def say(self, line: str) -> None:
        """Write a line of our own; never blocks."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, as far as the terminal takes it within a second."""
        try:
            self._waiting.put(None, timeout=CLOSE_TIMEOUT_S)
        except queue.Full:
            return
        self._writer.join(CLOSE_TIMEOUT_S)

    def _write(self) -> None:
        reported = 0
        while (line := self._waiting.get()) is not None:
            try:
                self._stream.write(line + "\n")
                if self.dropped > reported:
                    self._stream.write(f"({self.dropped - reported} lines were dropped)\n")
                    reported = self.dropped
                self._stream.flush()
            except (OSError, ValueError):
                self.dropped += 1  # nobody reads any more: the gateway goes on


class TerminalStream(io.TextIOBase):
    """The terminal as a stream for our own log lines."""

    def __init__(self, terminal: Terminal, name: str) -> None:
        super().__init__()
        self._terminal, self._name = terminal, name

    def write(self, text: str) -> int:
        """Show each line of `text`."""
        for line in text.splitlines():
            self._terminal.show(self._name, line)
        return len(text)
