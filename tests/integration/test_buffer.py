"""`module-gateway buffer` beside a real gateway that runs, and on one that was stopped."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet_lab.device import VirtualDevice
from fleet_lab.devices.builtin import Transparent
from module_gateway.module_handler.buffer.lines import line_of
from module_gateway.module_handler.outbox import Entry
from module_gateway.protocol.identity import Device
from tests.brokers import MosquittoBroker, free_port
from tests.integration.peer import scripted_server
from tests.integration.stack import (
    COMPANY,
    RECOVERY_LIMIT_S,
    REPOSITORY,
    START_LIMIT_S,
    VEHICLE,
    Stack,
    configuration,
    control_plane_api,
    demo_configuration,
    running_stack,
)
from tests.unit.test_docs_buffer import BLOCKS

EXAMPLES = BLOCKS["sh run"].splitlines()
STATUSES = 20
COMMAND_LIMIT_S = 60.0


class Buffer:
    """The command line for one gateway."""

    def __init__(self, stack: Stack) -> None:
        self._state_dir = stack.state_dir
        self._config = stack.state_dir.parent / "config.json"

    async def __call__(self, command: str, *words: str, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "module_gateway", "buffer", command,
            "--config", str(self._config), "--state-dir", str(self._state_dir), *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, cwd=REPOSITORY,
        )  # fmt: skip
        try:
            async with asyncio.timeout(COMMAND_LIMIT_S):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert code == process.returncode, (out + err).decode()
        return out.decode()

    async def type(self, line: str) -> None:
        """Run a line as a person types it, beside the configuration."""
        folder = self._config.parent
        settings = json.loads(self._config.read_text())
        (folder / "my.json").write_text(json.dumps({**settings, "state-dir": str(self._state_dir)}))
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        process = await asyncio.create_subprocess_shell(
            line, cwd=folder, env={**os.environ, "PATH": programs},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(COMMAND_LIMIT_S):
            out, _ = await process.communicate()
        assert 0 == process.returncode, f"{line}\n{out.decode()}"

    async def json(self, command: str, *words: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self(command, "--json", *words, code=code))
        return found

    async def lines(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (await self("export", *words)).splitlines()]

    async def until(self, entries: int) -> dict[str, Any]:
        """The figures, once so many entries wait."""
        async with asyncio.timeout(RECOVERY_LIMIT_S):
            while (found := await self.json("stat"))["entries"] != entries:
                pass
        return found


def device(role: str, stack: Stack, statuses: int | None) -> VirtualDevice:
    return VirtualDevice(
        Transparent(role), gateway=stack.gateway, period_s=0.02, statuses=statuses, is_patient=True
    )


def told(lines: list[dict[str, Any]]) -> set[tuple[object, ...]]:
    """What upstream would get, without numbers."""
    return {
        (each["role"], each["time"], json.dumps(each["status"]), each.get("repeat"))
        for each in lines
    }


async def every_command(buffer: Buffer, waiting: int) -> None:
    """What the page shows, as printed: afterwards the same waits, only its numbers are others."""
    before = await buffer.lines()
    assert waiting == len(before)
    for line in EXAMPLES:
        await buffer.type(line)
        if " purge " in line:
            assert {"b"} == {each["role"] for each in await buffer.lines()}
    assert (await buffer.json("check"))["ok"] is True
    assert (await buffer.json("repair"))["repaired"] is False
    await buffer("purge", "--all", code=2)
    after = await buffer.lines()
    assert told(before) == told(after)
    sequences = [each["sequence"] for each in after]
    assert sorted(sequences) == sequences
    assert max(each["sequence"] for each in before) < sequences[-1]


@pytest.mark.timeout(480)
async def test_each_command_works_beside_a_running_gateway_and_on_a_stopped_one() -> None:
    async with running_stack(configuration(free_port())) as stack:
        buffer = Buffer(stack)
        devices = [device(role, stack, STATUSES) for role in "ab"]
        await asyncio.gather(*(each.run() for each in devices))
        waiting = 2 * (STATUSES + 1)  # the end of each device repeats its last status
        found = await buffer.until(waiting)
        assert stack.pid_of("module_handler") == found["handler_pid"]
        await every_command(buffer, waiting)
        assert await stack.stop() == 0
        found = await buffer.until(waiting)
        assert found["handler_pid"] is None
        await every_command(buffer, waiting)
        assert any("buffer_purged" in line for line in stack.lines)


@pytest.mark.timeout(120)
async def test_what_is_put_back_reaches_the_control_plane_with_its_own_time(tmp_path: Path) -> None:
    old = Device.of(3, 0, "old", "old", 0)
    week_ago = 1_763_000_000_000
    entries = [
        Entry(9, old, b'{"n": %d}' % number, time_unix_ms=week_ago + number) for number in range(3)
    ]
    file = tmp_path / "out.jsonl"
    file.write_text("".join(f"{line_of(entry)}\n" for entry in entries))
    settings = demo_configuration(**{"module-settings": {"3": {"replay": True}}})
    async with running_stack(settings, "--demo") as stack, control_plane_api(stack) as api:
        buffer = Buffer(stack)
        await buffer("replay", str(file))
        address = f"{api.device(3, 0, 'old')}/history"
        await buffer.until(0)
        history = await api.get(address)
        assert await stack.stop() == 0
    assert [entry.time_unix_ms for entry in entries] == [
        each["recorded_unix_ms"] for each in history if each["state"] != "disconnect"
    ]


@pytest.mark.timeout(180)
async def test_what_was_purged_in_an_outage_is_never_delivered(tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path, has_unix=False) as broker:
        assert broker.port is not None
        broker.stop()
        async with running_stack(configuration(broker.port)) as stack:
            buffer = Buffer(stack)
            await device("a", stack, 3).run()
            await buffer.until(4)
            await buffer("purge", "--all", "--yes")
            broker.start()
            async with scripted_server(broker.port, COMPANY, VEHICLE) as server:
                live = device("b", stack, None)
                running = asyncio.create_task(live.run(), name="device b")
                await server.wait_for_running(START_LIMIT_S)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                assert {"b"} == server.roles
            assert await stack.stop() == 0
