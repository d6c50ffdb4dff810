"""What each durability level costs: round trips through a whole gateway, side by side.

    .venv/bin/python -m benchmarks.durability [--seconds 3] [--rounds 3] [--json]

Every level has a gateway of its own, all run at the same time and are loaded in turns, so that a
busy machine is unfair to all of them alike. "different": every status changes the device's state,
is published and therefore written before it is answered. "same": nothing changes, nothing is
written. The time of one bare fdatasync on the same disk stands above the table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

from benchmarks.stage.results import sync_ms
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import encode_connect, encode_status

LEVELS = ("memory", "process", "power")
DEVICES = (1, 10, 100)
MODULE = 1001
START_LIMIT_S = 60.0


class Client(asyncio.Protocol):
    """One device that sends its next status when the last one is answered."""

    def __init__(self, role: str, *, is_different: bool) -> None:
        device = Device.of(MODULE, 0, role)
        self._connect = encode_connect(device)
        self._statuses = [
            encode_status(device, b'{"pressed": %s}' % word)
            for word in ((b"true", b"false") if is_different else (b"true",))
        ]
        self._decoder = FrameDecoder()
        self._sent = 0
        self._sent_at = 0.0
        self.is_stopping = False
        self.latencies_s: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._connect)

    def data_received(self, data: bytes) -> None:
        self._decoder.receive(data)
        while self._decoder.next_frame() is not None:
            now = time.perf_counter()
            if self._sent:
                self.latencies_s.append(now - self._sent_at)
            if self.is_stopping:
                self._transport.close()
                return
            self._sent_at = now
            self._transport.write(self._statuses[self._sent % len(self._statuses)])
            self._sent += 1


@dataclass
class Cell:
    """Rounds of one level, load and number of devices."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        return {
            "per_s": statistics.median(self.rates),
            "p50_ms": statistics.median(self.p50_ms),
            "p99_ms": statistics.median(self.p99_ms),
        }


def configure(folder: Path, level: str) -> Path:
    """The configuration of that gateway, in a folder of its own."""
    folder.mkdir()
    own = {"metrics-port": 0}
    configuration = {
        "config-version": 1,
        "internal-server-settings": {"port": 0, **own},
        "module-handler-settings": {"durability": level, **own},
        "external-client-settings": own,
        "external-connection": {
            "endpoints": [{"server-ip": "127.0.0.1", "port": 1, "modules": [MODULE]}]
        },
    }
    file = folder / "gateway.json"
    file.write_text(json.dumps(configuration), encoding="utf-8")
    return file


@asynccontextmanager
async def gateway(folder: Path, level: str) -> AsyncIterator[int]:
    """The port for devices of a gateway whose control plane is never there."""
    file = configure(folder, level)
    command = (sys.executable, "-m", "module_gateway", "run", "--config", str(file))
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--state-dir", str(folder / "s"), "--log-level", "warning"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(START_LIMIT_S):
            port = await _device_port(process)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _device_port(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(b"READY "):
            words = dict(word.split("=", 1) for word in line.decode().split()[1:])
            return int(words["internal_server.devices"].rsplit(":", 1)[1])
    raise RuntimeError(f"the gateway ended with exit code {await process.wait()}")


async def load(port: int, devices: int, seconds: float, *, is_different: bool) -> Cell:
    """One closed loop; its rate and latencies."""
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(devices):
        client = Client(f"d{number}", is_different=is_different)
        await loop.create_connection(lambda c=client: c, "127.0.0.1", port)  # type: ignore[misc]  # the default binds the client
        clients.append(client)
    start = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed_s = time.perf_counter() - start
    latencies = sorted(each for client in clients for each in client.latencies_s)
    for client in clients:
        client.is_stopping = True
    await asyncio.sleep(0.3)  # the last answers; the next round finds the identities free
    if not latencies:
        raise RuntimeError(f"no device on port {port} got an answer")
    cut = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
    return Cell([len(latencies) / elapsed_s], [cut[49] * 1e3], [cut[98] * 1e3])


async def measure(seconds: float, rounds: int, folder: Path) -> dict[str, Any]:
    """All levels, loads and numbers of devices."""
    cells: dict[tuple[str, str, int], Cell] = {}
    async with AsyncExitStack() as stack:
        ports = {
            level: await stack.enter_async_context(gateway(folder / level[:2], level))
            for level in LEVELS
        }
        for _ in range(rounds):
            for kind in ("same", "different"):
                for devices in DEVICES:
                    for level, port in ports.items():
                        run = await load(port, devices, seconds, is_different=kind == "different")
                        cell = cells.setdefault((kind, level, devices), Cell())
                        cell.rates += run.rates
                        cell.p50_ms += run.p50_ms
                        cell.p99_ms += run.p99_ms
    median_ms, p99_ms = sync_ms(folder)
    rows = [
        {"statuses": kind, "durability": level, "devices": devices, **cell.medians()}
        for (kind, level, devices), cell in cells.items()
    ]
    return {"fdatasync_p50_ms": median_ms, "fdatasync_p99_ms": p99_ms, "rows": rows}


def table(results: dict[str, Any]) -> Iterable[str]:
    """Lines of Markdown; the last column is the rate beside `memory`."""
    rows = results["rows"]
    base = {(r["statuses"], r["devices"]): r["per_s"] for r in rows if r["durability"] == "memory"}
    p50_ms, p99_ms = results["fdatasync_p50_ms"], results["fdatasync_p99_ms"]
    yield f"one fdatasync: {p50_ms:.2f} ms, 99th percentile {p99_ms:.1f} ms"
    yield ""
    yield "| statuses | devices | durability | per second | p50 | p99 | share of memory |"
    yield "|---|---|---|---|---|---|---|"
    for row in sorted(rows, key=lambda r: (r["statuses"], r["devices"])):
        share = row["per_s"] / base[row["statuses"], row["devices"]]
        yield (
            f"| {row['statuses']} | {row['devices']} | {row['durability']} | {row['per_s']:,.0f} "
            f"| {row['p50_ms']:.2f} ms | {row['p99_ms']:.1f} ms | {share:.2f} |"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (default 3)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mg-") as folder:
        results = uvloop.run(measure(args.seconds, args.rounds, Path(folder)))
    print(json.dumps(results) if args.json else "\n".join(table(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
