"""The unit file: it starts what there is, and its limits fit ours."""

from __future__ import annotations

import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from module_gateway.runtime.composition import BUS_BROKER, STOP_RANKS
from module_gateway.runtime.process import EXIT_CONFIG, EXIT_USAGE
from module_gateway.runtime.pulse import PERIOD_S
from module_gateway.runtime.run import build_parser
from module_gateway.runtime.supervisor import Policy

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "systemd" / "module-gateway.service"


@pytest.fixture(scope="module")
def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parser.read(UNIT)
    return parser


def test_it_starts_the_gateway_with_options_that_exist(unit: ConfigParser) -> None:
    program, command, *options = unit["Service"]["ExecStart"].split()
    args = build_parser().parse_args(options)

    assert (Path(program).name, command) == ("module-gateway", "run")
    assert str(args.config).startswith("/etc/" + unit["Service"]["ConfigurationDirectory"])
    assert str(args.state_dir) == "/var/lib/" + unit["Service"]["StateDirectory"]


def test_its_limits_leave_ours_the_time_that_they_need(unit: ConfigParser) -> None:
    service, policy = unit["Service"], Policy()
    ranks = {STOP_RANKS[name] for name in STOP_RANKS if name == BUS_BROKER or "_" in name}
    starts_s = policy.attempts * (policy.ready_limit_s + policy.backoff_max_s / 2)

    assert int(service["TimeoutStopSec"]) >= policy.stop_limit_s * len(ranks)
    assert int(service["TimeoutStartSec"]) >= starts_s
    assert int(service["WatchdogSec"]) >= 10 * PERIOD_S


def test_what_stays_wrong_is_not_tried_again(unit: ConfigParser) -> None:
    service = unit["Service"]

    assert service["RestartPreventExitStatus"].split() == [str(EXIT_USAGE), str(EXIT_CONFIG)]
    assert (service["Restart"], service["Type"]) == ("on-failure", "notify")


def test_systemd_understands_every_line(unit: ConfigParser, tmp_path: Path) -> None:
    """As far as there is a systemd; its complaint about a missing program is none of ours."""
    assert "ExecStart" in unit["Service"]
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    copy = tmp_path / UNIT.name
    program = unit["Service"]["ExecStart"].split()[0]
    copy.write_text(UNIT.read_text().replace(program, "/bin/true"))
    said = subprocess.run(
        [analyze, "verify", str(copy)], capture_output=True, text=True, check=False, timeout=50
    )
    about_it = [line for line in said.stderr.splitlines() if str(copy) in line]

    assert about_it == []
