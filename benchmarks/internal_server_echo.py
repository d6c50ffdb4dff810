"""Statuses per second through the internal server, against a plain echo on the same machine.

Both servers run in this process and get the same frames from the same load process, in turns; only
their ratio means something on a machine that does other things as well. The handler behind the
internal server answers at once on a bus in memory, so what is measured is the server itself:
session, validation, routing, link.

    .venv/bin/python -m benchmarks.internal_server_echo [--devices 50] [--seconds 2] [--rounds 3]

"paced" is checklist item I20: every device sends 20 statuses a second; its p99 must stay under
50 ms, and a connect under that load (I21) must be answered within 250 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
import uvloop

from module_gateway.bus.link import Address, Link
from module_gateway.bus.memory import MemoryBroker
from module_gateway.internal_server.server import InternalServer
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import encode_connect, encode_status
from module_gateway.runtime.settings import (
    BusSettings,
    Endpoint,
    ExternalConnection,
    InternalServerSettings,
    Settings,
)

MODULE = 3
STATUS = bytes(150)
PACED_RATE_HZ = 20.0
P99_LIMIT_S = 0.05
CONNECT_LIMIT_S = 0.25


class AnyType:
    """A module that takes every device."""

    def is_device_type_supported(self, device_type: int) -> bool:  # noqa: ARG002
        return True

    def forward_command_on_receive(self, device_type: int) -> bool:  # noqa: ARG002
        return False


class InstantHandler:
    """Answers everything in the turn in which it arrives."""

    def __init__(self, broker: MemoryBroker, settings: BusSettings) -> None:
        self.link = Link(broker.bus(), bus_pb2.MODULE_HANDLER, settings, self, self._presence)
        self.is_known = asyncio.Event()

    def _presence(self) -> bus_pb2.Presence:
        served = bus_pb2.Presence.Served(module=MODULE, partitions=2**64 - 1)
        return bus_pb2.Presence(served=[served])

    def link_up(self) -> None: ...

    def link_down(self, reason: str) -> None: ...

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None: ...

    def peer_lost(self, peer: Address) -> None: ...

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        for message in messages:
            answer = bus_pb2.Message()
            match message.WhichOneof("body"):
                case "status_request":
                    request = message.status_request
                    answer.status_reply.instance = request.instance
                    answer.status_reply.sequence = request.sequence
                    answer.status_reply.command = request.status
                case "connect_request":
                    answer.connect_verdict.instance = message.connect_request.instance
                case "live_connections":
                    self.is_known.set()
                    continue
                case _:
                    continue
            self.link.send(sender, answer)


class Echo(asyncio.Protocol):
    """Gives every frame back."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self._transport = transport
        self._decoder = FrameDecoder()

    def data_received(self, chunk: bytes) -> None:
        self._decoder.receive(chunk)
        while (frame := self._decoder.next_frame()) is not None:
            self._transport.write(len(frame).to_bytes(4, "little") + frame)


class LoadDevice(asyncio.Protocol):
    """One device: connects, then sends a status whenever it may, and notes the waits."""

    def __init__(self, number: int, period_s: float) -> None:
        device = Device.of(MODULE, 0, f"role_{number}")
        self._connect, self._status = encode_connect(device), encode_status(device, STATUS)
        self._period_s = period_s
        self._decoder = FrameDecoder()
        self._sent_at = 0.0
        self.connect_wait_s = -1.0
        self.waits: list[float] = []
        self.is_connected = asyncio.Event()
        self.was_closed = False

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self._transport = transport
        self._sent_at = time.perf_counter()
        transport.write(self._connect)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.was_closed = True
        self.is_connected.set()

    def data_received(self, chunk: bytes) -> None:
        self._decoder.receive(chunk)
        while self._decoder.next_frame() is not None:
            wait_s = time.perf_counter() - self._sent_at
            if not self.is_connected.is_set():
                self.connect_wait_s = wait_s
                self.is_connected.set()
            else:
                self.waits.append(wait_s)
            if self._period_s:
                delay_s = max(0.0, self._period_s - wait_s)
                asyncio.get_running_loop().call_later(delay_s, self.send)
            else:
                self.send()

    def send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._status)


async def load(port: int, devices: int, seconds: float, period_s: float) -> dict[str, float]:
    """The load process: runs the devices and reports."""
    loop = asyncio.get_running_loop()

    async def one(number: int) -> LoadDevice:
        _, device = await loop.create_connection(
            lambda: LoadDevice(number, period_s), "127.0.0.1", port
        )
        await device.is_connected.wait()
        return device

    fleet = [await one(number) for number in range(devices)]
    began = time.perf_counter()
    late: list[LoadDevice] = []
    while time.perf_counter() - began < seconds:
        late.append(await one(devices + len(late)))
        await asyncio.sleep(seconds / 20)
    waits = sorted(wait for device in fleet for wait in device.waits)
    return {
        "rate_hz": len(waits) / (time.perf_counter() - began),
        "p50_s": waits[len(waits) // 2],
        "p99_s": waits[len(waits) * 99 // 100],
        "connect_max_s": max(device.connect_wait_s for device in late),
        "closed": float(sum(device.was_closed for device in (*fleet, *late))),
    }


@asynccontextmanager
async def servers() -> AsyncIterator[dict[str, int]]:
    """Both servers; yields their ports."""
    settings = Settings(
        config_version=1,
        internal_server_settings=InternalServerSettings(ip_address="127.0.0.1", port=0),
        external_connection=ExternalConnection(
            endpoints=(Endpoint(server_ip="127.0.0.1", port=1, modules=(MODULE,)),)
        ),
    )
    broker, stop = MemoryBroker(), asyncio.Event()
    server = InternalServer(settings, {MODULE: AnyType()}, broker.bus())
    handler = InstantHandler(broker, settings.bus)
    loop = asyncio.get_running_loop()
    echo = await loop.create_server(Echo, "127.0.0.1", 0)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.run(stop))
        bus = tasks.create_task(handler.link.run())
        await server.started.wait()
        await handler.is_known.wait()
        yield {"echo": echo.sockets[0].getsockname()[1], "internal server": server.bound_port}
        stop.set()
        bus.cancel()
    echo.close()


async def measure(port: int, devices: int, seconds: float, period_s: float) -> dict[str, float]:
    """One run of the load process against `port`, with our own CPU time per status."""
    cpu_s = time.process_time()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.internal_server_echo", "--load", str(port)),
        *("--devices", str(devices), "--seconds", str(seconds), "--period", str(period_s)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    result: dict[str, float] = json.loads(output)
    result["cpu_us"] = (time.process_time() - cpu_s) * 1e6 / (result["rate_hz"] * seconds)
    return result


async def compare(devices: int, seconds: float, rounds: int) -> dict[str, Any]:
    """All runs; medians over the rounds."""
    runs: dict[str, list[dict[str, float]]] = {}
    async with servers() as ports:
        for _ in range(rounds):
            for name, port in ports.items():
                runs.setdefault(name, []).append(await measure(port, devices, seconds, 0.0))
        paced = await measure(ports["internal server"], devices, seconds, 1 / PACED_RATE_HZ)
    results: dict[str, Any] = {
        name: {key: statistics.median(run[key] for run in many) for key in many[0]}
        for name, many in runs.items()
    }
    results["ratio"] = results["internal server"]["rate_hz"] / results["echo"]["rate_hz"]
    results["cpu_ratio"] = results["internal server"]["cpu_us"] / results["echo"]["cpu_us"]
    results["paced"] = paced
    return results


def report(results: dict[str, Any]) -> bool:
    """Print the table; whether I20 and I21 hold."""
    print(f"{'':16} {'per s':>9} {'CPU us':>7} {'p50 ms':>7} {'p99 ms':>7} {'connect ms':>10}")
    for name in ("echo", "internal server", "paced"):
        run = results[name]
        print(
            f"{name:16} {run['rate_hz']:9.0f} {run['cpu_us']:7.1f} {run['p50_s'] * 1e3:7.2f} "
            f"{run['p99_s'] * 1e3:7.2f} {run['connect_max_s'] * 1e3:10.2f}"
        )
    print(f"internal server / echo: {results['ratio']:.2f} of the rate, ", end="")
    print(f"{results['cpu_ratio']:.1f} times the CPU")
    paced = results["paced"]
    holds = paced["p99_s"] < P99_LIMIT_S and paced["connect_max_s"] < CONNECT_LIMIT_S
    print(f"I20 and I21 {'hold' if holds and not paced['closed'] else 'DO NOT HOLD'}")
    return bool(holds and not paced["closed"])


def main() -> int:
    """Measure and print; 1 when I20 or I21 does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--period", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load is not None:
        print(json.dumps(uvloop.run(load(args.load, args.devices, args.seconds, args.period))))
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    results = uvloop.run(compare(args.devices, args.seconds, args.rounds))
    if args.json:
        print(json.dumps(results))
        return 0
    return 0 if report(results) else 1


if __name__ == "__main__":
    sys.exit(main())
