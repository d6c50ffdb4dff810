from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet_lab.cli import main
from tests.unit.fleet_lab.gateways import gateway

FILE = """
title = "a few"
seed = 3
checks = ["wrong_device == 0"{more}]
[[fleet]]
name = "cars"
device = "car_accessory"
size = 3
sink = "fleet-protocol://127.0.0.1:{port}"
load = "20/s each"
"""


@dataclass
class Lab:
    folder: Path
    port: int = 0

    def file(self, more: str = "") -> str:
        path = self.folder / "fleet.toml"
        path.write_text(FILE.format(port=self.port, more=more))
        return str(path)

    def command(self, *words: str) -> tuple[str, ...]:
        return ("fleet", *words, "--state-dir", str(self.folder))

    async def run(self, *words: str) -> tuple[int | None, str, str]:
        process = await self.start(*words)
        out, error = await process.communicate()
        return process.returncode, out.decode(), error.decode()

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fleet_lab", *self.command(*words)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with gateway() as at:
        yield Lab(tmp_path, at.port)


async def test_a_run_is_reached_by_the_other_commands_and_ends_with_its_verdict(lab: Lab) -> None:
    running = await lab.start("run", lab.file())
    while b"3/3 connected" not in await running.stderr.readline():
        pass
    assert (0, "cars: 5 devices\n", "") == await lab.run("scale", "cars", "5")
    code, rows, _ = await lab.run("ps", "--json")
    assert (0, [("cars", 5)]) == (code, [(row["name"], row["size"]) for row in json.loads(rows)])
    assert (0, "", "") == await lab.run("send", "cars/5", '{"lit_up": true}')
    code, found, _ = await lab.run("telemetry", "cars/5")
    assert (0, True) == (code, json.loads(found)["state"]["is_lit"])
    assert (2, "", "fleet-lab: there is no device 'cars/6'\n") == await lab.run(
        "telemetry", "cars/6"
    )
    assert 0 == (await lab.run("stop"))[0]
    out, _ = await running.communicate()
    assert 0 == running.returncode
    assert "PASSED: all 1 checks held." in out.decode()


async def test_a_check_that_fails_is_exit_code_1_and_a_report(lab: Lab) -> None:
    out = lab.folder / "out"
    code, text, error = await lab.run(
        "run", lab.file(', "answered < 1"'), "--duration", "1s", "--out", str(out)
    )
    assert 1 == code
    assert "answered < 1" in text
    assert "--seed 3 --duration 1s" in error
    assert {"junit.xml", "report.html", "run.json"} <= {path.name for path in out.iterdir()}


async def test_an_unreachable_gateway_is_one_line(lab: Lab) -> None:
    lab.port = 1
    code, out, error = await lab.run("run", lab.file())
    assert (1, "") == (code, out)
    last = "fleet-lab: cannot reach a gateway at 127.0.0.1:1: Connection refused"
    assert last == error.splitlines()[-1]
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("scale", "cars", "2"), 2, "no fleet runs; start one: fleet-lab fleet run FILE"),
        (("stop",), 2, "no fleet runs"),
        (("run", "/nowhere.toml"), 78, "/nowhere.toml: No such file or directory"),
    ],
)
def test_one_line_and_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, text: str
) -> None:
    assert code == main(Lab(tmp_path).command(*words))
    assert f"fleet-lab: {text}\n" == capsys.readouterr().err


def test_ps_without_a_run_is_an_empty_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == main(Lab(tmp_path).command("ps"))
    assert ["FLEET"] == [line.split()[0] for line in capsys.readouterr().out.splitlines()]
