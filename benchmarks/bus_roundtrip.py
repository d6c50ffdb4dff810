"""Round trips per second over the bus, against a bare socket on the same machine.

Two processes talk: over a `Link` on a private Mosquitto (Unix socket), and over a plain asyncio
Unix socket with length-prefixed frames. Both are measured in turns in the same run, because only
their ratio means something on a machine that does other things as well.

    .venv/bin/python -m benchmarks.bus_roundtrip [--rounds 3] [--seconds 2] [--json]

"deep 1" has one status under way (latency), "deep 1000" has a thousand (throughput).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import structlog
import uvloop

from module_gateway.bus.link import Address, Link
from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt import MqttBus
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.framing import FrameDecoder, encode_frame
from module_gateway.runtime.settings import BusSettings
from tests.brokers import MosquittoBroker

PAYLOAD = bytes(150)
DEPTHS = (1, 1000)
SETTINGS = BusSettings(heartbeat_ms=500, silence_ms=60_000)


class RoundTrips:
    """Keeps a number of requests under way and counts the answers."""

    def __init__(self) -> None:
        self.done = 0
        self.is_over = True

    async def measure(self, transport: Transport, depth: int, seconds: float) -> float:
        """Round trips per second."""
        self.done, self.is_over = 0, False
        started = time.perf_counter()
        for _ in range(depth):
            transport.request()
        await asyncio.sleep(seconds)
        self.is_over = True
        rate = self.done / (time.perf_counter() - started)
        await asyncio.sleep(0.2)  # what is under way comes back and is not counted
        return rate


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
            self._trips.done += 1
            if not self._trips.is_over:
                self.request()

    def request(self) -> None:
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
        self._trips.done += len(messages)
        if not self._trips.is_over:
            for _ in messages:
                self.request()

    def request(self) -> None:
        assert self.peer is not None
        self._sequence += 1
        message = bus_pb2.Message()
        message.status_request.sequence = self._sequence
        message.status_request.status = PAYLOAD
        self.link.send(self.peer, message)


async def echo(folder: Path) -> None:
    """The other process: echo frames and statuses until it is killed."""
    loop = asyncio.get_running_loop()
    listener = EchoListener()
    bus = MqttBus(BusLocation(folder / "bus.sock"), "echo")
    listener.link = Link(bus, bus_pb2.MODULE_HANDLER, SETTINGS, listener)
    await loop.create_unix_server(FrameEcho, str(folder / "echo.sock"))
    await listener.link.run()


@asynccontextmanager
async def other_process(folder: Path) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bus_roundtrip", "--echo-in", str(folder)
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def compare(folder: Path, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    trips = RoundTrips()
    asking = AskingListener(trips)
    asking.link = Link(
        MqttBus(BusLocation(folder / "bus.sock"), "ask"), bus_pb2.INTERNAL_SERVER, SETTINGS, asking
    )
    running = asyncio.create_task(asking.link.run())
    await asyncio.wait_for(asking.has_peer.wait(), 20)
    _, frames = await asyncio.get_running_loop().create_unix_connection(
        lambda: FrameClient(trips), str(folder / "echo.sock")
    )
    results = {}
    for depth in DEPTHS:
        link_rates, socket_rates = [], []
        for _ in range(rounds):
            socket_rates.append(await trips.measure(frames, depth, seconds))
            link_rates.append(await trips.measure(asking, depth, seconds))
        link, bare = statistics.median(link_rates), statistics.median(socket_rates)
        results[f"deep {depth}"] = {
            "link_per_s": round(link),
            "socket_per_s": round(bare),
            "ratio": round(link / bare, 4),
        }
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return results


async def benchmark(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as name, MosquittoBroker(Path(name), has_tcp=False):
        async with other_process(Path(name)):
            return await compare(Path(name), rounds, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--echo-in", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if args.echo_in is not None:
        uvloop.run(echo(args.echo_in))
        return 0
    results = uvloop.run(benchmark(args.rounds, args.seconds))
    if args.json:
        print(json.dumps(results))
        return 0
    print(f"{'':10} {'link /s':>10} {'socket /s':>10} {'ratio':>8}")
    for name, row in results.items():
        print(f"{name:10} {row['link_per_s']:>10} {row['socket_per_s']:>10} {row['ratio']:>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
