"""`fleet-lab watch` in one terminal, `fleet-lab fleet run` in another."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

FILE = """
[[fleet]]
name = "sensors"
device = "transparent"
size = 3
sink = "file:statuses.jsonl"
load = "10/s each"
"""


async def fleet_lab(folder: Path, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fleet_lab", *words, "--state-dir", str(folder / "state"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=folder,
    )  # fmt: skip


@pytest.mark.timeout(400)
async def test_a_running_fleet_is_watched_until_it_ends(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FILE)
    running = await fleet_lab(tmp_path, "fleet", "run", "fleet.toml")
    assert running.stderr is not None
    while b"10/s" not in (line := await running.stderr.readline()) and b"connected" not in line:
        assert line, "it ended before it ran"
    watching = await fleet_lab(tmp_path, "watch", "sensors", "--period", "100ms", "--json")
    assert watching.stdout is not None
    first, second = [json.loads(await watching.stdout.readline()) for _ in range(2)]
    assert [fleet["name"] for fleet in first["fleets"]] == ["sensors"]
    (fleet,) = second["fleets"]
    assert (fleet["devices"], fleet["states"]["connected"]) == (3, 3)
    assert fleet["sent_per_s"] > 0
    running.send_signal(signal.SIGINT)
    out, err = await running.communicate()
    assert running.returncode == 0, err.decode()
    assert b"No checks were asked for." in out
    rest, problems = await watching.communicate()
    assert (watching.returncode, problems) == (0, b"")
    assert json.loads(rest.splitlines()[-1])["fleets"] == []
