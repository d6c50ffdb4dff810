"""What one worker does for its fleet: requests by name on an engine of its own.

The same service sits behind a Unix socket (`worker.py`) and in a Ray actor (`ray_backend.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet_lab.errors import LabError
from fleet_lab.fleets.board import Board, BoardRecorder
from fleet_lab.fleets.engine import Engine
from fleet_lab.fleets.limits import settle_memory
from fleet_lab.fleets.shard import of_ranges
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.fleets.wire import Frame
from fleet_lab.ledger.batch import BatchRecorder
from fleet_lab.links.conditions import parse_conditions
from fleet_lab.recorder import Recorder

SAME_CLOCK_S: Final = 0.5
"""Clocks that differ by less are one: the difference is the way of the request. Two machines'
monotonic clocks count from their boots."""
MAX_PROBLEMS: Final = 100
"""Lines about devices kept between two `take`."""


class ShiftedRecorder:
    """Tells times in the clock of the fleet's own machine."""

    def __init__(self, inner: Recorder, by_s: float) -> None:
        self._inner = inner
        self._by_s = by_s
        self.refused = inner.refused

    def sent(self, device: int, number: int, scheduled_s: float, sent_s: float) -> None:
        """As in Recorder."""
        self._inner.sent(device, number, scheduled_s + self._by_s, sent_s + self._by_s)

    def answered(self, device: int, number: int, answered_s: float, is_own: bool) -> None:  # noqa: FBT001  # as in Recorder
        """As in Recorder."""
        self._inner.answered(device, number, answered_s + self._by_s, is_own)

    def closed(self, device: int, reason: str, at_s: float) -> None:
        """As in Recorder."""
        self._inner.closed(device, reason, at_s + self._by_s)

    def connected(self, device: int, at_s: float) -> None:
        """As in Recorder."""
        self._inner.connected(device, at_s + self._by_s)


class ShardService:
    """Runs one shard. Requests that change the shard wait for each other."""

    def __init__(self) -> None:
        self._batch = BatchRecorder()
        self._engine: Engine | None = None
        self._board: Board | None = None
        self._changing = asyncio.Lock()
        self._problems: list[tuple[str, str]] = []

    async def request(self, what: str, fields: Mapping[str, Any]) -> Frame:
        """Do one thing and answer it.

        Raises:
            LabError: it cannot be done, or nobody knows what it is.
        """
        match what:
            case "take":
                return self._take()
            case "start" | "adopt" | "scale" | "stop":
                async with self._changing:
                    await self._change(what, fields)
                    settle_memory()
                return {}, b""
            case "send":
                self._running().send(fields["device"], fields["payload"].encode("latin-1"))
                return {}, b""
            case "link":
                indexes = None if fields["indexes"] is None else of_ranges(fields["indexes"])
                self._running().set_link(indexes, parse_conditions(fields["conditions"]))
                return {}, b""
            case "telemetry":
                return {"telemetry": self._running().telemetry(fields["device"])}, b""
            case _:
                raise LabError(f"a worker cannot {what!r}")

    async def _change(self, what: str, fields: Mapping[str, Any]) -> None:
        match what:
            case "start":
                await self._start(fields)
            case "adopt":
                attempts = {int(index): number for index, number in fields["attempts"].items()}
                await self._running().adopt(of_ranges(fields["indexes"]), attempts)
            case "scale":
                await self._running().scale(fields["size"], fields["elapsed_s"])
            case _:
                if self._engine is not None:
                    await self._engine.stop()

    async def _start(self, fields: Mapping[str, Any]) -> None:
        recorder: Recorder = self._batch
        if fields["board"] is not None:
            self._board = Board(Path(fields["board"]))
            recorder = BoardRecorder(self._board, recorder)
        shift_s = fields["now_s"] - time.monotonic()
        if abs(shift_s) > SAME_CLOCK_S:
            recorder = ShiftedRecorder(recorder, shift_s)
        engine = Engine(
            FleetSpec.from_json(fields["fleet"]),
            recorder,
            of_ranges(fields["indexes"]),
            on_problem=self._remember_problem,
        )
        attempts = {int(index): number for index, number in fields["attempts"].items()}
        self._engine = engine
        try:
            await engine.start(fields["elapsed_s"], fields["load_from_s"], attempts)
        except LabError:
            self._engine = None
            raise

    def _take(self) -> Frame:
        engine = self._engine
        problems, self._problems = self._problems, []
        counts = engine.counts() if engine is not None and engine.is_started else {}
        meters = [meter.as_json() for meter in engine.meters] if engine is not None else []
        taken = {"counts": counts, "problems": problems, "meters": meters}
        return taken, self._batch.take()

    def _remember_problem(self, device_id: str, text: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append((device_id, text))

    def _running(self) -> Engine:
        if self._engine is None:
            raise LabError("this worker runs nothing yet")
        return self._engine
