"""The broker of last resort carries messages."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import aiomqtt
import pytest

from module_gateway.runtime.embedded_broker import main
from tests.brokers import free_port


async def test_a_message_goes_through_and_sigterm_ends_it() -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "module_gateway.runtime.embedded_broker", "--port", str(port)),
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(120):
        said = await process.stderr.readline()
        async with aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe("a/b", qos=1)
            await client.publish("a/b", b"\x00payload", qos=1)
            received = await anext(aiter(client.messages))
        process.terminate()
        code = await process.wait()

    assert said.endswith(f" info  ready mqtt=127.0.0.1:{port}\n".encode())
    assert (received.payload, code) == (b"\x00payload", 0)


def test_F4_a_port_in_use_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "module_gateway.runtime.embedded_broker", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr


def test_its_port_must_be_one() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--port", "70000"])

    assert ended.value.code == 2
