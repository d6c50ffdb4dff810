"""Virtual devices in Python: what `native/load.c` does, where it cannot be compiled."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import encode_connect, encode_status

FRAME_BYTES: Final = 120
RESPONSE: Final = 0x0A
COMMAND: Final = 0x12
"""First byte of each of the gateway's two messages."""
RETRY_S: Final = 0.1
LATE_S: Final = 0.001
NS: Final = 1e9
TICKS_PER_S: Final = 100


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """In microseconds, from seconds."""
    ordered = sorted(values) or [0.0]
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    cut = {name: ordered[int((len(ordered) - 1) * share)] for name, share in shares.items()}
    return {name: round(value * 1e6, 1) for name, value in cut.items()} | {"count": len(values)}


def options(words: Sequence[str]) -> dict[str, float]:
    """`key=value` words with one number each."""
    pairs = (word.split("=", 1) for word in words if not word.startswith("watch="))
    return {key: float(value) for key, value in pairs}


def cpu_of(pid: str) -> float:
    """utime + stime in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


class VirtualDevice(asyncio.Protocol):
    """One device. Comes back when its connection ends, unless it has left."""

    def __init__(self, fleet: Generator, number: int, module: int, *, is_rubbish: bool) -> None:
        role = f"{'r' if is_rubbish else 'd'}{number:06}"
        self._device = Device.of(module, 0, role, role)
        self._fleet = fleet
        self._number = 0
        self.is_rubbish = is_rubbish
        self.transport: asyncio.Transport | None = None
        self.is_ready = self.is_waiting = self.has_left = False
        self.asked_at = self.owed_at = 0.0
        self._frame = self._status_frame()

    def _status_frame(self) -> bytes:
        flag = "false" if self._number % 2 else "true "
        text = f'{{"pressed": {flag}, "n": {self._number:10}, "salt": "'
        empty = len(encode_status(self._device, b"x")) - 1
        return encode_status(
            self._device, text.ljust(FRAME_BYTES - empty - 2, "x").encode() + b'"}'
        )

    def open(self) -> None:
        """Begin a connection; its end begins the next."""
        self.asked_at = time.perf_counter()
        task = asyncio.get_running_loop().create_task(self._open(), name="open")
        self._fleet.opening.add(task)
        task.add_done_callback(self._fleet.opening.discard)

    async def _open(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: self, self._fleet.host, self._fleet.port)
        except OSError:
            self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._decoder = FrameDecoder()
        self.transport.write(encode_connect(self._device))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.is_ready = self.is_waiting = False
        self.transport = None
        if self.has_left:
            return
        self._fleet.counts["closed"] += not self.is_rubbish
        delay_s = self._fleet.pause_s if self.is_rubbish else RETRY_S
        asyncio.get_running_loop().call_later(delay_s, self.open)

    def data_received(self, data: bytes) -> None:
        self._decoder.receive(data)
        while (frame := self._decoder.next_frame()) is not None:
            now = time.perf_counter()
            if frame[0] == RESPONSE and not self.is_ready:
                self.is_ready = True
                self._fleet.welcomed(self, now)
            elif frame[0] == COMMAND and self.is_waiting:
                self.is_waiting = False
                self._fleet.answered(self, now)
            else:
                self._fleet.counts["wrong"] += 1
                self.leave()

    def send(self, due_at: float) -> None:
        """The next status."""
        if self._fleet.is_different:
            self._number += 1
            self._frame = self._status_frame()
        self._send(self._frame, due_at)

    def send_rubbish(self) -> None:
        """A status for no module, no message, a frame of 4 GiB; in turn."""
        self._number += 1
        head = (60, 4, 0)[self._number % 3]
        self._fleet.counts["rubbish"] += 1
        self._send(self._frame[:head] + b"\xff" * (FRAME_BYTES - head), 0.0)

    def _send(self, frame: bytes, due_at: float) -> None:
        self.asked_at, self.is_waiting = due_at, True
        if self.transport is not None:
            self.transport.write(frame)

    def leave(self) -> None:
        """Close and stay away."""
        self.has_left = True
        if self.transport is not None:
            self.transport.close()

    def fall(self) -> None:
        """Lose the connection."""
        if self.transport is not None:
            self.transport.abort()


class Generator:
    """All devices and what is counted of them."""

    def __init__(
        self, host: str, port: int, count: int, first: int, first_module: int, modules: int
    ) -> None:
        self.host, self.port = host, port
        self.opening: set[asyncio.Task[None]] = set()
        self.pause_s = 0.0
        self.is_different = self._is_running = self._is_open_loop = False
        self._storm_at = 0.0
        self._news = asyncio.Event()
        self.devices = [
            VirtualDevice(self, first + each, first_module + each % modules, is_rubbish=False)
            for each in range(count)
        ]
        self._forget()

    def _forget(self) -> None:
        self.counts = dict.fromkeys(("closed", "refused", "wrong", "owed", "skipped", "rubbish"), 0)
        self.waits: list[float] = []
        self.connects: list[float] = []
        self._late_s = 0.0

    async def _next_answer(self) -> None:
        self._news.clear()
        await self._news.wait()

    def welcomed(self, device: VirtualDevice, now: float) -> None:
        """A device was accepted."""
        self._news.set()
        self.connects.append(now - device.asked_at)
        if device.is_rubbish:
            device.send_rubbish()
        elif self._storm_at or (self._is_running and not self._is_open_loop):
            device.send(now)

    def answered(self, device: VirtualDevice, now: float) -> None:
        """A status was answered."""
        self._news.set()
        self.waits.append(now - (self._storm_at or device.asked_at))
        if not self._is_running:
            return
        if not self._is_open_loop:
            device.send(now)
        elif device.owed_at:
            owed_at, device.owed_at = device.owed_at, 0.0
            device.send(owed_at)

    async def connect(self, words: Sequence[str]) -> str:
        """All devices that are not connected."""
        options(words)
        self._forget()
        begin = time.perf_counter()
        for device in self.devices:
            if device.transport is None:
                device.open()
        while not all(device.is_ready for device in self.devices):
            await self._next_answer()
        return self._say(connected=len(self.devices), seconds=time.perf_counter() - begin)

    async def storm(self, words: Sequence[str]) -> str:
        """Some lose their connections at once and come back at once."""
        many = min(int(options(words).get("devices", 2000)), len(self.devices))
        self._forget()
        self._storm_at = time.perf_counter()
        for device in self.devices[:many]:
            device.fall()
        while len(self.waits) < many:
            await self._next_answer()
        took_s, self._storm_at = time.perf_counter() - self._storm_at, 0.0
        return self._say(
            devices=many, served=many, seconds=took_s, served_us=percentiles(self.waits)
        )

    async def run(self, words: Sequence[str]) -> str:
        """Every device sends; see `load.c` for the words."""
        given = options(words)
        pids = [pid for word in words if word.startswith("watch=") for pid in word[6:].split(",")]
        rate, seconds = given.get("rate", 0.0), given.get("seconds", 3.0)
        self.is_different, self._is_open_loop = bool(given.get("different")), rate > 0
        self.pause_s, self._is_running = given.get("pause_ms", 0.0) / 1000, True
        others = [
            VirtualDevice(self, number, self.devices[0]._device.identity.module, is_rubbish=True)  # noqa: SLF001
            for number in range(int(given.get("rubbish", 0)))
        ]
        for device in others:
            device.open()
        now = time.perf_counter()
        for device in self.devices if not rate else ():
            device.send(now)
        await self._pass(given.get("warm_s", 0.5), rate, 0.0)
        self._forget()
        before, cpu_s = {pid: cpu_of(pid) for pid in pids}, time.process_time()
        begin_ns = time.monotonic_ns()
        left_ns = await self._pass(seconds, rate, given.get("leave_s", 0.0))
        end_ns = time.monotonic_ns()
        spent = {pid: round(cpu_of(pid) - before[pid], 2) for pid in pids}
        took_s, cpu_s = (end_ns - begin_ns) / NS, time.process_time() - cpu_s
        answered, self._is_running = len(self.waits), False
        self.waits, waits = [], self.waits
        for device in others:
            device.leave()
        await asyncio.sleep(0.3)  # the last answers
        return self._say(
            answered=answered, seconds=took_s, per_s=answered / took_s, own_cpu_s=cpu_s,
            busy_share=cpu_s / took_s, late_share=self._late_s / took_s, begin_ns=begin_ns,
            end_ns=end_ns, left_ns=left_ns, watched_cpu_s=spent, round_trip_us=percentiles(waits),
        )  # fmt: skip

    async def _pass(self, seconds: float, rate: float, leave_s: float) -> int:
        begin = due_at = time.perf_counter()
        number, left_ns = 0, 0
        while (now := time.perf_counter()) < begin + seconds:
            if leave_s and not left_ns and now > begin + leave_s:
                left_ns = time.monotonic_ns()
                self.devices[0].leave()
            while rate and due_at <= now:
                self._late_s += max(0.0, now - due_at - LATE_S)
                self._fall_due(self.devices[number % len(self.devices)], due_at)
                number, due_at = number + 1, due_at + 1 / rate
            await asyncio.sleep(max(0.0, due_at - now) if rate else 0.005)
        return left_ns

    def _fall_due(self, device: VirtualDevice, due_at: float) -> None:
        if device.is_ready and not device.is_waiting:
            device.send(due_at)
        elif device.is_waiting and not device.owed_at:
            device.owed_at = due_at
            self.counts["owed"] += 1
        else:
            self.counts["skipped"] += 1

    def _say(self, **figures: Any) -> str:  # noqa: ANN401
        return json.dumps(figures | self.counts | {"connect_us": percentiles(self.connects)})
