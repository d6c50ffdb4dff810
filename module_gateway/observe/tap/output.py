"""Lines to whoever reads them, from a thread of its own: a slow reader holds up nothing.

While nobody reads, a bounded number of lines waits; what comes then is counted and not shown. So
the tap always takes what the broker has for it, whatever its own reader does.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, TextIO

MAX_WAITING_LINES: Final = 10_000
"""At 300 bytes a line about 3 MiB."""

CLOSE_TIMEOUT_S: Final = 2.0
"""For what waits at the end."""


class Output:
    """Writes lines to a stream in order."""

    def __init__(
        self,
        stream: TextIO,
        on_gone: Callable[[], None],
        *,
        max_lines: int = MAX_WAITING_LINES,
    ) -> None:
        """`on_gone` is called, in the writing thread, once when nobody reads any more."""
        self.dropped = 0
        self._stream = stream
        self._on_gone = on_gone
        self._waiting: queue.Queue[str | None] = queue.Queue(max_lines)
        self._writer = threading.Thread(target=self._write, name="tap-output", daemon=True)
        self._writer.start()

    def say(self, line: str) -> bool:
        """Have a line written soon; False, and a count, when too many wait."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Write what waits, as far as the reader takes it in time."""
        try:
            self._waiting.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._writer.join(timeout_s)

    def _write(self) -> None:
        is_open = True
        while (line := self._waiting.get()) is not None:
            if not is_open:
                continue
            try:
                self._stream.write(f"{line}\n")
                if self._waiting.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                is_open = False
                self._on_gone()
        if is_open:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._on_gone()
