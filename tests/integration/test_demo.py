"""`fleet-lab demo` as a person types it: real processes, a real outage, a real verdict."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fleet_lab.report.run_folder import read_run
from tests import browser

PATIENCE = float(os.environ.get("MODULE_GATEWAY_TEST_PATIENCE", "3"))


async def start_demo(out: Path, *flags: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fleet_lab", "demo", "--out", str(out), *flags,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=out.parent,
    )  # fmt: skip


@pytest.mark.timeout(180 * PATIENCE)
async def test_a_short_demo_loses_nothing_and_leaves_a_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = await start_demo(out, "--duration", "20s", "--outage", "6s", "--seed", "7", "--json")
    said, progress = await process.communicate()
    found = json.loads(said)
    assert process.returncode == 0, (found["checks"], progress.decode())
    assert found["passed"]
    assert found["counts"]["lost"] == 0
    assert found["counts"]["answered"] > 300
    assert found["counts"]["folded"] > 0, "the outage was not one"

    run = read_run(out)
    (outage,) = run.ribbon
    assert outage.end_s is not None
    assert outage.end_s - outage.start_s >= 6
    during = run.series.upstream[int(outage.start_s) + 2 : int(outage.start_s) + 6]
    # A client whose window is full sends a status each 0.25 s to find out if the peer is back.
    assert max(during) <= 5, run.series.upstream
    assert sum(during) <= 17, run.series.upstream
    assert {link.fleet for link in run.links} == {"mission"}
    assert ET.parse(out / "junit.xml").getroot().attrib["failures"] == "0"
    assert {log.name for log in (out / "logs").iterdir()} == {
        "gateway.log", "control-plane.log", "upstream-broker.log",
    }  # fmt: skip
    if not browser.missing():
        with browser.browser(tmp_path) as chromium:
            chromium.open((out / "report.html").as_uri())
            assert chromium.console() == []
            assert str(chromium.run("return document.title")).startswith("PASSED")


@pytest.mark.timeout(120 * PATIENCE)
async def test_a_stopped_demo_says_so_and_leaves_nothing_running(tmp_path: Path) -> None:
    process = await start_demo(tmp_path / "out")
    assert process.stderr is not None
    while b"starting 20 devices" not in (line := await process.stderr.readline()):
        assert line, "it ended before devices were started"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 3
    process.send_signal(signal.SIGINT)
    said, errors = await process.communicate()
    assert (process.returncode, said) == (1, b"")
    assert errors.decode().splitlines()[-1] == (
        "fleet-lab: stopped before it was over: there is no verdict"
    )
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
