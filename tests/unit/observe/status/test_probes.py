from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from module_gateway.observe.status.probes import (
    ask,
    ask_all,
    is_alive,
    memory_bytes,
    notes_in,
    read_note,
    uptime_s,
)
from module_gateway.runtime.health import Health
from module_gateway.runtime.metrics import serve_metrics
from tests.brokers import free_port


async def test_a_process_says_its_checks_and_metrics() -> None:
    health = Health()
    health.set("bus", is_ok=False, detail="not connected yet")
    async with serve_metrics(0, health) as port:
        answer = await asyncio.to_thread(ask, f"127.0.0.1:{port}", 30.0)
    assert answer.checks is not None
    assert answer.checks["bus"] == (False, "not connected yet")
    assert answer.failure == ""
    assert "module_gateway_loop_lag_seconds" in answer.metrics_text


def test_where_nobody_listens_there_is_a_reason() -> None:
    at = f"127.0.0.1:{free_port()}"
    answers = ask_all({"a": at, "b": "nonsense"})
    assert answers["a"].checks is None
    assert f"does not answer at {at}" in answers["a"].failure
    assert "no such address" in answers["b"].failure
    assert ask_all({}) == {}


async def test_somebody_else_at_the_port_is_told_apart() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n[1]")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = await asyncio.to_thread(ask, at, 30.0)
    assert found.failure == f"somebody else answers at {at}"


def test_what_the_system_knows_of_a_process() -> None:
    own = os.getpid()
    assert is_alive(own)
    assert (uptime_s(own) or 0.0) > 0
    assert (memory_bytes(own) or 0) > 2**20
    with subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL) as ended:
        ended.wait()
    assert not is_alive(ended.pid)
    assert not is_alive(None)
    assert not is_alive(0)
    assert uptime_s(ended.pid) is None
    assert memory_bytes(ended.pid) is None


def test_a_note_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("[1]")
    (tmp_path / "a.json").write_text(json.dumps({"pid": 1}))
    assert [path.name for path in notes_in(tmp_path)] == ["a.json", "b.json"]
    assert read_note(tmp_path / "a.json") == {"pid": 1}
    assert read_note(tmp_path / "b.json") == {}
    assert read_note(tmp_path / "c.json") == {}
