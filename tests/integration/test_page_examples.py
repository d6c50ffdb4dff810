"""What README and docs/lab.md print as Python runs as printed; only the gateway's port differs."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from module_gateway.protocol.internal import DeviceConnect, DeviceStatus
from tests.unit.fleet_lab.gateways import echo, gateway

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8888"


def blocks(page: str, mark: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [found[2] for found in BLOCK.finditer(text) if found[1] == mark]


README = blocks("README.md", "python run")
LAB = blocks("docs/lab.md", "python run")
TESTS = blocks("docs/lab.md", "python test")


async def run(folder: Path, text: str, *command: str) -> tuple[str, list[DeviceStatus]]:
    """Run the text as a script against a gateway; gives its output and the statuses."""
    statuses: list[DeviceStatus] = []

    def remember(message: DeviceConnect | DeviceStatus) -> bytes:
        if isinstance(message, DeviceStatus):
            statuses.append(message)
        return echo(message)

    async with gateway(remember) as at:
        script = folder / "test_example.py"
        script.write_text(text.replace(ADDRESS, f"127.0.0.1:{at.port}"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, str(script),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=folder,
        )  # fmt: skip
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, ""), out.decode()
    return out.decode(), statuses


def test_a_device_and_a_fleet_are_short() -> None:
    assert len(README) == 2
    assert [len(text.splitlines()) <= 15 for text in README] == [True, True]


async def test_the_device_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    _, statuses = await run(tmp_path, README[0])
    assert len(statuses) >= 5
    assert {status.device.identity.role for status in statuses} == {"kitchen"}
    assert b'"celsius": ' in statuses[0].status


async def test_the_fleet_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    out, statuses = await run(tmp_path, README[1])
    roles = {status.device.identity.role for status in statuses}
    assert len(roles) > 20, "it was not scaled"
    state, row = out.splitlines()
    assert state.startswith("{")
    assert "'name': 'cars', 'size': 30" in row


@pytest.mark.parametrize("place", range(len(LAB)))
async def test_the_examples_of_the_lab_run_as_printed(place: int, tmp_path: Path) -> None:
    out, _ = await run(tmp_path, LAB[place])
    assert out


async def test_the_scenario_of_the_lab_is_a_test(tmp_path: Path) -> None:
    (text,) = TESTS
    loaded = ("fleet_lab.pytest_plugin", "no:cacheprovider", "no:asyncio")
    flags = [word for plugin in loaded for word in ("-p", plugin)]
    out, statuses = await run(tmp_path, text, "-m", "pytest", "-q", *flags)
    assert "1 passed" in out
    assert len({status.device.identity for status in statuses}) == 10
