"""One use of the tap: from the brokers through reading and choosing to lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from module_gateway.observe.tap.bus_messages import BusReader
from module_gateway.observe.tap.inbox import Arrived, Inbox
from module_gateway.observe.tap.lines import Lines
from module_gateway.observe.tap.output import Output
from module_gateway.observe.tap.seen import Filter, Seen
from module_gateway.observe.tap.stored_names import stored_connections
from module_gateway.observe.tap.upstream_messages import UpstreamReader
from module_gateway.observe.tap.watch import Place, Watch
from module_gateway.protocol.external import Topics

TURN_MESSAGES: Final = 50
"""Read in one turn of the loop: then the brokers' sockets come first again."""

LOOK_UP_S: Final = 5.0
"""At most so often the store is asked for connections that nobody has named."""


@dataclass(frozen=True, slots=True)
class TapPlace:
    """A place to watch; `topics` of a vehicle upstream, None for the bus."""

    place: Place
    topics: Topics | None


class Tap:
    """Shows what it is asked for, until it is told to stop.

    Attributes:
        shown: lines that were handed to the output.
        is_reader_gone: nobody reads the output any more.
    """

    def __init__(
        self,
        places: Sequence[TapPlace],
        wanted: Filter,
        lines: Lines,
        store: Path,
        say: Callable[[str], None],
    ) -> None:
        """`say` gets sentences for people; `store` is the handler's, which need not exist."""
        self.shown = 0
        self.is_reader_gone = False
        self._places = places
        self._wanted = wanted
        self._lines = lines
        self._store = store
        self._say = say
        self._bus = BusReader()
        self._readers = [
            None if each.topics is None else UpstreamReader(each.topics) for each in places
        ]
        self._inbox = Inbox()
        self._news = asyncio.Event()
        self._dropped_lines = 0
        self._looked_up_at = -LOOK_UP_S

    def summary(self, span_s: float) -> str:
        """What was shown, and what was not, in one sentence."""
        said = f"{self.shown:,} messages shown in {span_s:.1f} s"
        missed = self._inbox.dropped + self._dropped_lines
        if missed:
            said += f"; {missed:,} not shown: they came faster than they could be written"
        if self._bus.unknown:
            said += (
                f"; {self._bus.unknown:,} were of connections whose device is not known (it "
                "connected before, and the store does not name it)"
            )
        return said

    async def run(
        self, stream: TextIO, stop: asyncio.Event, count: int | None, for_s: float | None
    ) -> None:
        """Write lines to `stream` until `stop` is set, `count` are written or `for_s` is over.

        Raises:
            BusError: a place cannot be watched.
            ConfigError: the TLS files of a place cannot be used.
        """
        loop = asyncio.get_running_loop()

        def gone() -> None:
            self.is_reader_gone = True
            loop.call_soon_threadsafe(stop.set)

        output = Output(stream, gone)
        watches = [
            Watch(each.place, self._receiver(number), self._say)
            for number, each in enumerate(self._places)
        ]
        tasks: list[asyncio.Task[object]] = [
            *(asyncio.create_task(each.run(), name="tap-watch") for each in watches),
            asyncio.create_task(stop.wait(), name="tap-stop"),
            asyncio.create_task(self._show(output, count), name="tap-show"),
        ]
        if for_s is not None:
            tasks.append(asyncio.create_task(_pass(watches, for_s), name="tap-time"))
        try:
            await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
            for each in tasks:
                if each.done():
                    each.result()
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            output.close()
            self._dropped_lines = output.dropped

    def _receiver(self, number: int) -> Callable[[str, bytes], None]:
        def received(topic: str, payload: bytes) -> None:
            self._inbox.put(Arrived(number, topic, payload, time.time_ns() // 1_000_000))
            self._news.set()

        return received

    async def _show(self, output: Output, count: int | None) -> None:
        """Read and write what came, in order; returns when `count` lines were written."""
        if any(reader is None for reader in self._readers):
            await self._look_up()
        while True:
            await self._news.wait()
            self._news.clear()
            while self._inbox:
                for _ in range(TURN_MESSAGES):
                    if not self._inbox:
                        break
                    arrived = self._inbox.take()
                    unknown = self._bus.unknown
                    for seen in self._read(arrived):
                        if self._wanted.wants(seen):
                            self.shown += output.say(self._lines.line(seen, arrived.time_unix_ms))
                        if self.shown == count:
                            return
                    if self._bus.unknown > unknown:
                        await self._look_up()
                await asyncio.sleep(0)

    def _read(self, arrived: Arrived) -> Iterable[Seen]:
        reader = self._readers[arrived.place]
        if reader is None:
            return self._bus.read(arrived.topic, arrived.payload)
        return (reader.read(arrived.topic, arrived.payload),)

    async def _look_up(self) -> None:
        """Ask the store for connections, unless that was done lately."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_up_at < LOOK_UP_S:
            return
        self._looked_up_at = now
        found = await asyncio.to_thread(stored_connections, self._store)
        for connection, identity in found.items():
            self._bus.connections.learn(connection, identity)


async def _pass(watches: Iterable[Watch], span_s: float) -> None:
    """Returns so long after all places are watched."""
    for each in watches:
        await each.watching.wait()
    await asyncio.sleep(span_s)
