"""Statuses as lines on standard output."""

from __future__ import annotations

import sys

from fleet_lab.sinks.local import LocalSink


class ConsoleSink(LocalSink):
    """`console:`, a line per status."""

    __slots__ = ()

    def _write(self, line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()
