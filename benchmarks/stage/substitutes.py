"""The programs of `benchmarks/native` in Python, for a machine without a C compiler.

    python -m benchmarks.stage.substitutes load|calibration|upstream WORDS

Same words, same answers (see the head of each C file), but five to ten times the CPU time, which
two cores then lack for the gateway: rates are those of the generator. Ratios of CPU time hold.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, cast

import uvloop

from benchmarks.stage.substitute_devices import Generator
from benchmarks.stage.substitute_upstream import StandIn
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.internal import (
    decode_client_message,
    encode_command,
    encode_connect_response,
)


class EmptyGateway(asyncio.Protocol):
    """Accepts whoever connects, then answers every frame with one prepared command."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._decoder = FrameDecoder()
        self._reply = b""

    def data_received(self, data: bytes) -> None:
        self._decoder.receive(data)
        while (frame := self._decoder.next_frame()) is not None:
            if self._reply:
                self._transport.write(self._reply)
                continue
            device = decode_client_message(frame).device
            self._reply = encode_command(device, b"")
            self._transport.write(encode_connect_response(device, 0))


async def calibration(port: str = "0") -> None:
    """Listen, say where, until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(EmptyGateway, "127.0.0.1", int(port), backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


async def load(host: str, port: str, count: str, *more: str) -> None:
    """Virtual devices."""
    first_number, first_module, modules = (*map(int, more), 0, 1001, 1)[:3]
    if len(more) == 1:
        first_module, modules = 1001, 1
    generator = Generator(host, int(port), int(count), first_number, first_module, modules)
    commands = {"connect": generator.connect, "run": generator.run, "storm": generator.storm}
    await _obey(lambda words: commands[words[0]](words[1:]))


async def upstream(host: str, port: str, company: str, vehicle: str) -> None:
    """The stand-in of a control plane."""
    stand_in = StandIn(host, int(port), company, vehicle)
    serving = asyncio.create_task(stand_in.serve(), name="stand-in")
    await _obey(stand_in.obey)
    serving.cancel()


async def _obey(answer: Callable[[list[str]], Any]) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(await answer(line.split()), flush=True)


def main() -> None:
    """Play the named program."""
    programs = {"load": load, "calibration": calibration, "upstream": upstream}
    uvloop.run(programs[sys.argv[1]](*sys.argv[2:]))


if __name__ == "__main__":
    main()
