"""The seed's scripts at the top of the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ["run_all.py", "run_internal_server.py", "run_modules.py", "run_external_client.py"]


def run(*words: str, python: tuple[str, ...] = (sys.executable,)) -> tuple[int, str, str]:
    done = subprocess.run(
        [*python, *words], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_runs_its_part(script: str) -> None:
    code, out, _ = run(script, "--help")

    assert (code, "usage: " in out, "--config" in out, "--state-dir" in out) == (
        0,
        True,
        True,
        True,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_outside_the_virtual_environment_a_script_says_what_to_type(script: str) -> None:
    # Without site packages Python is as bare as on a new machine.
    code, out, err = run(script, python=(sys.executable, "-S"))

    assert (code, out, "Traceback" in err) == (1, "", False)
    assert "Type: make " in err


def test_the_faults_of_the_internal_server_exclude_each_other() -> None:
    code, _, err = run("run_internal_server.py", "--comm-error", "--serv-too-long")

    assert (code, "not allowed with argument" in err) == (2, True)


def test_the_package_itself_is_the_command() -> None:
    code, out, _ = run("-m", "module_gateway")

    assert (code, out.startswith("usage: module-gateway")) == (0, True)
