"""One fleet over several workers: deals devices, collects records, moves devices of dead workers.

Where workers come from (processes here, actors on a Ray cluster) is a placer's matter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fleet_lab.errors import LabError
from fleet_lab.fleets.board import LastNumbers
from fleet_lab.fleets.lag import Lag
from fleet_lab.fleets.ports import Placer, WorkerLostError, WorkerPort
from fleet_lab.fleets.shard import deal, deal_to_least, to_ranges
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.fleets.wire import Frame
from fleet_lab.ledger.batch import replay
from fleet_lab.links.conditions import Conditions, conditions_text
from fleet_lab.links.meter import Meter
from fleet_lab.recorder import Recorder

TAKE_EVERY_S: Final = 0.1
SILENCE_S: Final = 5.0
"""A worker that answers nothing for so long is dead; one that is busy opening answers."""
CHANGE_TIMEOUT_S: Final = 600.0
"""Opening ten thousand devices over a slow link takes minutes; losing the worker ends it sooner."""
REQUEST_TIMEOUT_S: Final = 10.0


@dataclass(slots=True)
class Shard:
    """One worker and what it holds."""

    worker: WorkerPort
    indexes: set[int] = field(default_factory=set)
    counts: dict[str, Any] = field(default_factory=dict)
    meters: list[Meter] = field(default_factory=list)
    poll: asyncio.Task[None] | None = None
    takes: set[asyncio.Task[None]] = field(default_factory=set)


JUMP: Final = 1000
"""Added to a moved device's number where its last attempts cannot be known: no number twice."""


class Coordinator:
    """A running fleet over workers."""

    def __init__(
        self,
        fleet: FleetSpec,
        recorder: Recorder,
        placer: Placer,
        workers: int,
        on_problem: Callable[[str, str], None],
    ) -> None:
        self.fleet = fleet
        self._recorder = LastNumbers(recorder)
        self._placer = placer
        self._names = [f"{fleet.name}-{number + 1}" for number in range(workers)]
        self._on_problem = on_problem
        self._shards: dict[str, Shard] = {}
        self._past: dict[str, Any] = {}
        self._lag = Lag()
        self._meters = (Meter(), Meter())
        self._started_s = 0.0
        self._load_from_s = 0.0
        self._links: list[tuple[Iterable[int] | None, str]] = []
        self._moves: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.lost_workers = 0
        self.events_dropped = 0

    async def start(self) -> None:
        """Place the workers and open the devices.

        Raises:
            LabError: no worker could open any device; the first reason.
        """
        workers = await asyncio.gather(*(self._placer.place(name) for name in self._names))
        self._shards = {worker.name: Shard(worker) for worker in workers}
        self._started_s = time.monotonic()
        hands = deal(range(self.fleet.size), self._names)
        for name, indexes in hands.items():
            self._shards[name].indexes.update(indexes)
        started = await asyncio.gather(
            *(self._start(shard) for shard in self._shards.values()), return_exceptions=True
        )
        errors = [error for error in started if isinstance(error, BaseException)]
        held = [error for s, error in zip(self._shards.values(), started, strict=True) if s.indexes]
        if errors and all(isinstance(error, BaseException) for error in held):
            await self.stop()
            raise errors[0]
        for shard, error in zip(list(self._shards.values()), started, strict=True):
            if isinstance(error, BaseException):
                await self._start(shard, is_patient=True)
            self._watch(shard)
        await self._take_all()

    async def stop(self) -> None:
        """End all devices, collect the last records, end all workers."""
        self._is_stopping = True
        tasks = [shard.poll for shard in self._shards.values() if shard.poll is not None]
        for task in (*tasks, *self._moves):
            task.cancel()
        await asyncio.gather(*tasks, *self._moves, return_exceptions=True)
        await asyncio.gather(*(self._finish(shard) for shard in self._shards.values()))
        await self._placer.close()

    async def scale(self, size: int) -> None:
        """Another size while running.

        Raises:
            LabError: the fleet cannot grow, or no worker can open the new devices.
        """
        fleet, old_size = self.fleet.resized(size), self.fleet.size
        self.fleet = fleet
        self._load_from_s = time.monotonic() - self._started_s
        for shard in self._shards.values():
            shard.indexes = {index for index in shard.indexes if index < size}
        fields = {"size": size, "elapsed_s": self._load_from_s}
        await self._ask_all("scale", fields)
        await self._take_all()
        numbers = self._recorder.numbers
        await self._spread({index: numbers.get(index, 0) for index in range(old_size, size)})
        await self._take_all()

    async def send(self, device_id: str, payload: bytes) -> None:
        """Give a device a command, wherever it runs.

        Raises:
            LabError: there is no such device.
        """
        fields = {"device": device_id, "payload": payload.decode("latin-1")}
        await self._ask(self._shard_of(device_id), "send", fields)

    async def telemetry(self, device_id: str) -> dict[str, Any]:
        """State and counters of a device, wherever it runs.

        Raises:
            LabError: there is no such device.
        """
        shard = self._shard_of(device_id)
        fields, _ = await self._ask(shard, "telemetry", {"device": device_id})
        found: dict[str, Any] = fields["telemetry"]
        return found | {"worker": shard.worker.name, "place": shard.worker.place}

    async def set_link(self, indexes: Iterable[int] | None, conditions: Conditions) -> None:
        """Other conditions for these devices; None: for all."""
        chosen = None if indexes is None else to_ranges(indexes)
        text = conditions_text(conditions)
        self._links.append((None if indexes is None else tuple(indexes), text))
        await self._ask_all("link", {"indexes": chosen, "conditions": text})

    def counts(self) -> dict[str, Any]:
        """Sums over all workers, the dead ones' past included."""
        total: dict[str, Any] = dict(self._past)
        lag = Lag(self._lag.counts, self._lag.longest_s)
        for shard in self._shards.values():
            _add_counts(total, lag, shard.counts, is_alive=True)
        return total | {
            "lag_counts": lag.counts, "lag_max_s": lag.longest_s,
            "workers": len(self._shards), "lost_workers": self.lost_workers,
            "events_dropped": self.events_dropped,
        }  # fmt: skip

    @property
    def meters(self) -> tuple[Meter, Meter]:
        """What the links of all workers achieved: up, down."""
        total = (Meter(), Meter())
        for meters in (self._meters, *(shard.meters for shard in self._shards.values())):
            for sum_, meter in zip(total, meters, strict=False):
                sum_.merge(meter)
        return total

    def places(self) -> list[dict[str, Any]]:
        """Worker, place and number of devices."""
        return [
            {
                "worker": shard.worker.name,
                "place": shard.worker.place,
                "devices": len(shard.indexes),
            }
            for shard in self._shards.values()
        ]

    # One worker.

    async def _start(
        self, shard: Shard, attempts: Mapping[int, int] | None = None, *, is_patient: bool = False
    ) -> None:
        fleet = replace(self.fleet, is_patient=True) if is_patient else self.fleet
        fields = {
            "fleet": fleet.to_json(),
            "indexes": to_ranges(shard.indexes),
            "board": self._placer.board,
            "now_s": time.monotonic(),
            "elapsed_s": time.monotonic() - self._started_s,
            "load_from_s": self._load_from_s,
            "attempts": dict(attempts or {}),
        }
        async with asyncio.timeout(CHANGE_TIMEOUT_S):
            await shard.worker.request("start", fields)

    def _watch(self, shard: Shard) -> None:
        shard.poll = asyncio.get_running_loop().create_task(
            self._poll(shard), name=f"records of {shard.worker.name}"
        )

    async def _poll(self, shard: Shard) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    await self._take(shard)
            except (WorkerLostError, TimeoutError) as error:
                self._lost(shard, str(error) or f"silent for {SILENCE_S:g} s")
                return
            await asyncio.sleep(TAKE_EVERY_S)

    async def _take_all(self) -> None:
        """Bring the counts up to date; whoever does not answer is left to whoever watches it."""

        async def take(shard: Shard) -> None:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await self._take(shard)

        await asyncio.gather(*map(take, self._shards.values()), return_exceptions=True)

    async def _take(self, shard: Shard) -> None:
        """Ask for records. The worker gives each once, so they are taken even if the caller left.

        Raises:
            WorkerLostError: it is gone.
        """
        taking = asyncio.get_running_loop().create_task(
            self._took(shard), name=f"take from {shard.worker.name}"
        )
        shard.takes.add(taking)
        taking.add_done_callback(shard.takes.discard)
        await asyncio.shield(taking)

    async def _took(self, shard: Shard) -> None:
        fields, batch = await shard.worker.request("take", {})
        shard.counts = fields["counts"]
        shard.meters = [Meter.of_json(values) for values in fields["meters"]]
        self.events_dropped += replay(batch, self._recorder)
        for device_id, text in fields["problems"]:
            self._on_problem(device_id, text)

    async def _finish(self, shard: Shard) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await shard.worker.request("stop", {})
                await self._take(shard)
        except (WorkerLostError, TimeoutError, LabError):
            self.lost_workers += 1
        finally:
            await shard.worker.end()
            _give_up(shard)

    async def _ask(self, shard: Shard, what: str, fields: Mapping[str, Any]) -> Frame:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                return await shard.worker.request(what, fields)
        except (WorkerLostError, TimeoutError) as error:
            raise LabError(f"worker {shard.worker.name} does not answer; try again") from error

    async def _ask_all(self, what: str, fields: Mapping[str, Any]) -> None:
        """Ask every worker; one that is gone is left to whoever watches it."""
        await asyncio.gather(
            *(shard.worker.request(what, fields) for shard in self._shards.values()),
            return_exceptions=True,
        )

    def _shard_of(self, device_id: str) -> Shard:
        index = self.fleet.index_of(device_id)
        for shard in self._shards.values():
            if index in shard.indexes:
                return shard
        raise LabError(f"there is no device {device_id!r} in fleet {self.fleet.name}", 2)

    # A worker died.

    def _lost(self, shard: Shard, reason: str) -> None:
        if self._is_stopping:
            return
        del self._shards[shard.worker.name]
        _give_up(shard)
        self.lost_workers += 1
        _add_counts(self._past, self._lag, shard.counts, is_alive=False)
        for sum_, meter in zip(self._meters, shard.meters, strict=False):
            sum_.merge(meter)
        orphans = self._settle(shard)
        self._on_problem(shard.worker.name, f"worker lost ({reason}); its devices move")
        move = asyncio.get_running_loop().create_task(
            self._move(shard, orphans), name=f"move devices of {shard.worker.name}"
        )
        self._moves.add(move)
        move.add_done_callback(self._moved)

    def _moved(self, move: asyncio.Task[None]) -> None:
        self._moves.discard(move)
        error = None if move.cancelled() else move.exception()
        if error is not None:
            self._on_problem(self.fleet.name, f"{move.get_name()}: {error}")

    def _settle(self, shard: Shard) -> dict[int, int]:
        """Record what the dead worker sent and could not tell; each device's last number."""
        now = time.monotonic()
        last_numbers = {}
        for index in sorted(shard.indexes):
            recorded = self._recorder.numbers.get(index, 0)
            known = self._placer.last_number(index)
            for number in range(recorded + 1, (known or 0) + 1):
                self._recorder.sent(index, number, now, now)
            self._recorder.closed(index, "worker died", now)
            last_numbers[index] = recorded + JUMP if known is None else max(known, recorded)
        return last_numbers

    async def _move(self, shard: Shard, orphans: Mapping[int, int]) -> None:
        """The others take the devices at once; the worker comes back empty, if it does."""
        revived: WorkerPort | None = None
        try:
            await shard.worker.kill()
            if self._shards:
                await self._spread(orphans)
                orphans = {}
            revived = await self._placer.revive(shard.worker)
        finally:
            if revived is None:
                await shard.worker.end()
        if revived is None and not self._shards:
            revived = await self._placer.place(shard.worker.name)
        if revived is None:
            return
        heir = Shard(revived, set(orphans))
        self._shards[revived.name] = heir
        self._watch(heir)
        await self._start(heir, orphans, is_patient=True)
        await self._relink([heir])

    async def _spread(self, orphans: Mapping[int, int]) -> None:
        held = {name: shard.indexes for name, shard in self._shards.items()}
        hands = deal_to_least(orphans, held)
        heirs = [(self._shards[name], indexes) for name, indexes in hands.items() if indexes]
        for shard, indexes in heirs:
            shard.indexes.update(indexes)
        requests = []
        for shard, indexes in heirs:
            attempts = {index: orphans[index] for index in indexes}
            fields = {"indexes": to_ranges(indexes), "attempts": attempts}
            requests.append(shard.worker.request("adopt", fields))
        await asyncio.gather(*requests, return_exceptions=True)
        await self._relink([shard for shard, _ in heirs])

    async def _relink(self, shards: list[Shard]) -> None:
        """Conditions that were changed since the start hold for moved devices too."""
        for indexes, text in self._links:
            chosen = None if indexes is None else to_ranges(indexes)
            fields = {"indexes": chosen, "conditions": text}
            await asyncio.gather(
                *(shard.worker.request("link", fields) for shard in shards), return_exceptions=True
            )


def _give_up(shard: Shard) -> None:
    """Nothing more is taken from it."""
    for taking in shard.takes:
        taking.cancel()


def _add_counts(
    total: dict[str, Any], lag: Lag, counts: Mapping[str, Any], *, is_alive: bool
) -> None:
    """Of a dead worker the past counts, not what is there now."""
    if not counts:
        return
    lag.merge(Lag(counts["lag_counts"], counts["lag_max_s"]))
    for name, value in counts.items():
        if name.startswith("lag_") or (not is_alive and name in ("connected", "devices")):
            continue
        total[name] = total.get(name, 0) + value
