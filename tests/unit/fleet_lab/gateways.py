"""A gateway as simple as it gets, told what to do, for the lab's own tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fleet_lab.device import Gateway
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.internal import (
    DeviceConnect,
    DeviceStatus,
    decode_client_message,
    encode_command,
    encode_connect_response,
)

Behaviour = Callable[[DeviceConnect | DeviceStatus], bytes | None]
"""What to write for a message; None: close the connection."""


def echo(message: DeviceConnect | DeviceStatus) -> bytes:
    """Accept everybody and answer every status with itself."""
    if isinstance(message, DeviceConnect):
        return encode_connect_response(message.device, 0)
    return encode_command(message.device, message.status)


@asynccontextmanager
async def gateway(behaviour: Behaviour = echo, port: int = 0) -> AsyncIterator[Gateway]:
    """Run one on the loopback, by default on a free port."""
    writers = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        decoder = FrameDecoder()
        try:
            while chunk := await reader.read(65536):
                decoder.receive(chunk)
                while frame := decoder.next_frame():
                    reply = behaviour(decode_client_message(frame))
                    if reply is None:
                        return
                    writer.write(reply)
        except ConnectionError:
            return
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield Gateway("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in list(writers):
            writer.close()
        await server.wait_closed()
