"""The example device does what its first lines say."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path

from module_gateway.protocol.internal import encode_connect_response
from tests.unit.fleet_lab.gateways import gateway

PROGRAM = Path(__file__).resolve().parents[3] / "examples" / "device.py"


async def start(port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), "127.0.0.1", str(port),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(PROGRAM.parents[1])},
    )  # fmt: skip


async def test_prints_what_the_gateway_answers() -> None:
    async with gateway() as at:
        process = await start(at.port)
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(2)]
        process.kill()
        await process.communicate()
    assert lines == [
        b"""{'pressed': False, 'n': 1} -> {"pressed": false, "n": 1}\n""",
        b"""{'pressed': True, 'n': 2} -> {"pressed": true, "n": 2}\n""",
    ]


async def test_says_that_it_was_refused() -> None:
    async with gateway(lambda m: encode_connect_response(m.device, 2)) as at:
        process = await start(at.port)
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err.startswith(b"refused: ")


async def test_says_that_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = await start(port)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert err.startswith(b"no gateway there: ")
    assert len(err.splitlines()) == 1


async def test_without_its_packages_it_says_what_to_type() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", str(PROGRAM), stderr=asyncio.subprocess.PIPE, env={}
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b".venv/bin/python" in err
    assert len(err.splitlines()) == 1


async def test_a_port_that_is_none_is_wrong_usage() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), "localhost", "http", stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(PROGRAM.parents[1])},
    )  # fmt: skip
    _, err = await process.communicate()
    assert process.returncode == 1
    assert err.startswith(b"usage: ")


async def test_stops_without_a_traceback() -> None:
    async with gateway() as at:
        process = await start(at.port)
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"stopped\n", b"")
