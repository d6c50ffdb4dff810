"""A program: devices at the end of a cable that is pulled; who gets their identities, and when?

Runs in a network namespace of its own (`unshare --net`), where it makes a second one for devices
and a pair of interfaces between the two. No packet tells the gateway that they are gone. Some are
cut off with an answer under way, so that TCP repeats it instead of asking whether they are there.
Newcomers of equal priority then try from the gateway's side until they are accepted.

Prints one line of JSON: see `Found`.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import DeviceConnectResponse, encode_connect, encode_status
from tests.brokers import free_port
from tests.chaos.footprint import metrics_of
from tests.chaos.kills import MODULE
from tests.chaos.wild_device import OK, Line
from tests.integration.stack import Stack, configuration, running_stack

T = TypeVar("T")
CLONE_NEWNET: Final = 0x40000000
GATEWAY: Final = "10.77.0.1"
FAR: Final = ("10.77.0.2", "10.77.0.3")
"""Devices with the second address are cut off in one direction first: answers do not arrive."""
DEVICES: Final = 10
ANSWER_LIMIT_S: Final = 10.0
AGAIN_S: Final = 0.25
CLOSED: Final = "module_gateway_internal_server_closed_total{"
STATUS: Final = b'{"n": %d}'


@dataclass(slots=True)
class Found:
    """What happened.

    Attributes:
        refused: identities whose first newcomer was refused, as the old one seemed to live.
        waits_s: from the pulled cable until a newcomer was accepted, by role.
        slowest_s: how long a device that stayed had to wait for an answer at most.
        closed: connections that the internal server has ended, by reason.
    """

    refused: list[str] = field(default_factory=list)
    waits_s: dict[str, float] = field(default_factory=dict)
    slowest_s: float = 0.0
    closed: dict[str, int] = field(default_factory=dict)


class FarEnd:
    """A second network namespace: what runs in its thread is there."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "far")
        libc = ctypes.CDLL(None, use_errno=True)

        def enter() -> str:
            if libc.unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"

        self.path = self.do(enter)

    def do(self, act: Callable[[], T]) -> T:
        """Do it there; a socket that is made there stays there."""
        return self._thread.submit(act).result()

    def connect(self, source: str, port: int) -> socket.socket:
        """A connection to the gateway from one of the FAR addresses."""

        def make() -> socket.socket:
            made = socket.socket()
            made.bind((source, 0))
            made.settimeout(ANSWER_LIMIT_S)
            made.connect((GATEWAY, port))
            made.setblocking(False)  # its name tells
            return made

        return self.do(make)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def lay_cable() -> FarEnd:
    """Two namespaces and a cable between them."""
    far = FarEnd()
    ip("link", "set", "lo", "up")
    ip("link", "add", "name", "near", "type", "veth", "peer", "name", "far")
    ip("link", "set", "far", "netns", far.path)
    ip("address", "add", f"{GATEWAY}/24", "dev", "near")
    ip("link", "set", "near", "up")
    for address in FAR:
        far.do(lambda address=address: ip("address", "add", f"{address}/24", "dev", "far"))
    far.do(lambda: ip("link", "set", "far", "up"))
    return far


async def accepted(line: Line) -> bool:
    """Introduce the device."""
    line.write(encode_connect(line.device))
    message = await line.receive(ANSWER_LIMIT_S)
    return isinstance(message, DeviceConnectResponse) and message.response == OK


async def answered(line: Line, number: int) -> float:
    """Exchange one status; how long that took."""
    sent_at = time.monotonic()
    line.write(encode_status(line.device, STATUS % number))
    message = await line.receive(ANSWER_LIMIT_S)
    if message is None:
        raise AssertionError(f"{line.device} is not answered")
    return time.monotonic() - sent_at


async def newcomer(device: Device, port: int, pulled_at: float, limit_s: float, to: Found) -> None:
    """Try again and again to be the device that has gone."""
    while time.monotonic() < pulled_at + limit_s:
        line = Line(*await asyncio.open_connection("127.0.0.1", port), device)
        is_in = await accepted(line)
        line.close()
        if is_in:
            to.waits_s[device.identity.role] = round(time.monotonic() - pulled_at, 2)
            return
        if device.identity.role not in to.refused:
            to.refused.append(device.identity.role)
        await asyncio.sleep(AGAIN_S)  # a device tries again after a while: this is what is tested


async def stay(line: Line, to: Found) -> None:
    """A device at another cable notices nothing."""
    number = 0
    while True:
        number += 1
        to.slowest_s = max(to.slowest_s, round(await answered(line, number), 3))
        await asyncio.sleep(0.05)  # its period


async def play(stack: Stack, port: int, limit_s: float, far: FarEnd) -> Found:
    """Connect, pull the cable, let newcomers try."""
    found = Found()
    devices = [Device.of(MODULE, 0, f"device_{number}") for number in range(DEVICES)]
    lines = []
    for number, device in enumerate(devices):
        end = far.connect(FAR[number % 2], port)
        lines.append(Line(*await asyncio.open_connection(sock=end), device))
    neighbour = Line(
        *await asyncio.open_connection("127.0.0.1", port), Device.of(MODULE, 0, "neighbour")
    )
    for line in [*lines, neighbour]:
        assert await accepted(line), line.device
        await answered(line, 1)
    staying = asyncio.create_task(stay(neighbour, found), name="neighbour")
    pulled_at = time.monotonic()
    ip("route", "add", "blackhole", f"{FAR[1]}/32")
    for line in lines[1::2]:
        line.write(encode_status(line.device, STATUS % 2))
    await asyncio.gather(*(line.receive(1.0) for line in lines[1::2]))  # nothing can come
    far.do(lambda: ip("link", "set", "far", "down"))
    await asyncio.gather(*(newcomer(each, port, pulled_at, limit_s, found) for each in devices))
    if staying.done():
        staying.result()
    staying.cancel()
    with suppress(asyncio.CancelledError):
        await staying
    counted = await metrics_of(stack, "internal_server")
    reasons = {name: count for name, count in counted.items() if name.startswith(CLOSED) and count}
    found.closed = {name.split('"')[1]: int(count) for name, count in reasons.items()}
    return found


async def main(options: argparse.Namespace) -> Found:
    """Run a gateway beside it."""
    far = lay_cable()
    port = free_port()
    settings = configuration(
        free_port(),
        **{
            "module-paths": {str(MODULE): "tests.modules.echo:EchoModule"},
            "internal-server-settings": {
                "ip-address": "0.0.0.0",  # of a namespace that holds nobody else
                "port": port,
                "metrics-port": 0,
                "inactivity-ms": options.inactivity_ms,
                "keepalive-idle-s": options.keepalive[0],
                "keepalive-interval-s": options.keepalive[1],
                "keepalive-count": options.keepalive[2],
            },
        },
    )
    async with running_stack(settings) as stack:
        return await play(stack, port, options.limit, far)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog=f"python -m tests.chaos.{Path(__file__).stem}")
    parser.add_argument("--keepalive", type=int, nargs=3, default=(10, 3, 3))
    parser.add_argument("--inactivity-ms", type=int, default=30_000)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for newcomers")
    sys.stdout.write(json.dumps(asdict(asyncio.run(main(parser.parse_args())))) + "\n")
