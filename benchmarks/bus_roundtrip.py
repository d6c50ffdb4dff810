"""Round trips over the bus, with each MQTT adapter, against a bare socket on the same machine.

Two processes talk: over a `Link` on a private Mosquitto (Unix socket), once per adapter, and over
a plain asyncio Unix socket with length-prefixed frames. All are measured in turns in the same
run, because only their ratios mean something on a machine that does other things as well; the
CPU time is of both processes and the broker together, and the steadiest figure.

    .venv/bin/python -m benchmarks.bus_roundtrip [--rounds 3] [--seconds 1] [--json]

"deep 1" has one status under way (latency), "deep 1000" has a thousand (throughput).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Protocol, get_args

import structlog
import uvloop

from module_gateway.bus.link import Address, Link
from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt import Adapter, MqttBus
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.framing import FrameDecoder, encode_frame
from module_gateway.runtime.settings import BusSettings
from tests.brokers import MosquittoBroker

PAYLOAD = bytes(150)
DEPTHS = (1, 10, 100, 1000)
ADAPTERS: tuple[Adapter, ...] = get_args(Adapter)
SETTINGS = BusSettings(heartbeat_ms=500, silence_ms=60_000)


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement. The times of single trips are of depth 1 only."""

    per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float


class RoundTrips:
    """Keeps a number of requests under way and counts the answers."""

    def __init__(self) -> None:
        self.done = 0
        self.is_over = True
        self.took_s: list[float] = []
        self._asked_at = 0.0

    def asked(self) -> None:
        self._asked_at = time.perf_counter()

    def answered(self, count: int) -> None:
        self.done += count
        self.took_s.append(time.perf_counter() - self._asked_at)

    async def measure(
        self, transport: Transport, depth: int, seconds: float, pids: Sequence[int]
    ) -> Cell:
        """Trips per second, and the CPU time of `pids` for each."""
        self.done, self.is_over, self.took_s = 0, False, []
        cpu_us, started = cpu_us_of(pids), time.perf_counter()
        for _ in range(depth):
            transport.request()
        await asyncio.sleep(seconds)
        self.is_over = True
        took_s, cpu_us, done = time.perf_counter() - started, cpu_us_of(pids) - cpu_us, self.done
        await asyncio.sleep(0.2)  # what is under way comes back and is not counted
        percentiles = statistics.quantiles(self.took_s, n=100)
        return Cell(done / took_s, percentiles[49] * 1e6, percentiles[98] * 1e6, cpu_us / done)


def cpu_us_of(pids: Sequence[int]) -> float:
    """What the main threads of these processes have used; nothing here has others that work."""
    schedules = (Path(f"/proc/{pid}/schedstat").read_text() for pid in pids)
    return sum(int(schedule.split()[0]) for schedule in schedules) / 1000


class Transport(Protocol):
    def request(self) -> None:
        """Send one request."""


class FrameEcho(asyncio.Protocol):
    """Answers each frame with itself."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._decoder = FrameDecoder()

    def data_received(self, data: bytes) -> None:
        self._decoder.receive(data)
        while (frame := self._decoder.next_frame()) is not None:
            self._transport.write(encode_frame(frame))  # type: ignore[attr-defined]  # a stream


class FrameClient(asyncio.Protocol):
    """Sends the next request for each answer."""

    def __init__(self, trips: RoundTrips) -> None:
        self._trips = trips
        self._decoder = FrameDecoder()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._decoder.receive(data)
        while self._decoder.next_frame() is not None:
            self._trips.answered(1)
            if not self._trips.is_over:
                self.request()

    def request(self) -> None:
        self._trips.asked()
        self._transport.write(encode_frame(PAYLOAD))  # type: ignore[attr-defined]  # a stream


class EchoListener:
    """Answers each status request with a reply."""

    link: Link

    def link_up(self) -> None:
        pass

    def link_down(self, reason: str) -> None:
        pass

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        pass

    def peer_lost(self, peer: Address) -> None:
        pass

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        for message in messages:
            reply = bus_pb2.Message()
            reply.status_reply.sequence = message.status_request.sequence
            reply.status_reply.command = message.status_request.status
            self.link.send(sender, reply)


class AskingListener(EchoListener):
    """Sends the next request for each reply."""

    def __init__(self, trips: RoundTrips) -> None:
        self._trips = trips
        self._sequence = 0
        self.peer: Address | None = None
        self.has_peer = asyncio.Event()

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:  # noqa: ARG002
        self.peer = peer
        self.has_peer.set()

    def received(
        self,
        sender: Address,  # noqa: ARG002
        messages: Sequence[bus_pb2.Message],
    ) -> None:
        self._trips.answered(len(messages))
        if not self._trips.is_over:
            for _ in messages:
                self.request()

    def request(self) -> None:
        assert self.peer is not None
        self._trips.asked()
        self._sequence += 1
        message = bus_pb2.Message()
        message.status_request.sequence = self._sequence
        message.status_request.status = PAYLOAD
        self.link.send(self.peer, message)


async def echo(folder: Path, adapter: Adapter) -> None:
    """The other process: echo frames and statuses until it is killed."""
    loop = asyncio.get_running_loop()
    listener = EchoListener()
    bus = MqttBus(BusLocation(folder / "bus.sock"), "echo", adapter=adapter)
    listener.link = Link(bus, bus_pb2.MODULE_HANDLER, SETTINGS, listener)
    await loop.create_unix_server(FrameEcho, str(folder / "echo.sock"))
    await listener.link.run()


@asynccontextmanager
async def other_process(folder: Path, adapter: Adapter) -> AsyncIterator[int]:
    """Yields its process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bus_roundtrip", "--echo-in", str(folder), adapter
    )
    try:
        yield process.pid
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def asking(folder: Path, adapter: Adapter, trips: RoundTrips) -> AsyncIterator[Transport]:
    """A link that has found the other process."""
    listener = AskingListener(trips)
    bus = MqttBus(BusLocation(folder / "bus.sock"), "ask", adapter=adapter)
    listener.link = Link(bus, bus_pb2.INTERNAL_SERVER, SETTINGS, listener)
    running = asyncio.create_task(listener.link.run())
    try:
        await asyncio.wait_for(listener.has_peer.wait(), 20)
        yield listener
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


Results = dict[str, dict[str, Cell]]
"""By depth, then by way."""


async def benchmark(rounds: int, seconds: float) -> Results:
    trips = RoundTrips()
    ways: dict[str, tuple[Transport, tuple[int, ...]]] = {}
    async with AsyncExitStack() as stack:
        for adapter in ADAPTERS:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            broker = stack.enter_context(MosquittoBroker(folder, has_tcp=False))
            other = await stack.enter_async_context(other_process(folder, adapter))
            link = await stack.enter_async_context(asking(folder, adapter, trips))
            ways[adapter] = (link, (os.getpid(), other, broker.pid))
            if "socket" not in ways:
                _, frames = await asyncio.get_running_loop().create_unix_connection(
                    lambda: FrameClient(trips), str(folder / "echo.sock")
                )
                ways["socket"] = (frames, (os.getpid(), other))
        return {
            f"deep {depth}": await compare(ways, trips, depth, rounds, seconds) for depth in DEPTHS
        }


async def compare(
    ways: dict[str, tuple[Transport, tuple[int, ...]]],
    trips: RoundTrips,
    depth: int,
    rounds: int,
    seconds: float,
) -> dict[str, Cell]:
    cells: dict[str, list[Cell]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (transport, pids) in ways.items():
            cells[name].append(await trips.measure(transport, depth, seconds, pids))
    return {
        name: Cell(
            *(statistics.median(column) for column in zip(*map(astuple, of_one), strict=True))
        )
        for name, of_one in cells.items()
    }


def table(results: Results) -> str:
    lines = [
        f"{'':10} {'':7} {'trips/s':>9} {'of bare':>8} {'p50 us':>7} {'p99 us':>7} {'CPU us':>7}"
    ]
    for depth, row in results.items():
        for name, cell in row.items():
            share = cell.per_s / row["socket"].per_s
            times = f"{cell.p50_us:7.0f} {cell.p99_us:7.0f}" if depth == "deep 1" else f"{'':15}"
            lines.append(
                f"{depth:10} {name:7} {cell.per_s:9.0f} {share:8.2f} {times} {cell.cpu_us:7.1f}"
            )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--echo-in", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if args.echo_in is not None:
        folder, adapter = args.echo_in
        uvloop.run(echo(Path(folder), adapter))
        return 0
    results = uvloop.run(benchmark(args.rounds, args.seconds))
    if args.json:
        print(
            json.dumps(
                {
                    depth: {name: asdict(cell) for name, cell in row.items()}
                    for depth, row in results.items()
                }
            )
        )
    else:
        print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
