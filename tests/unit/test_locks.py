"""What is installed is pinned, verifiable, and names neither a host nor a path."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements.txt", "requirements-dev.txt"]
PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / lock).read_text(encoding="utf-8")))


def canonical(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement)[0]).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_neither_a_host_nor_a_path(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")

    assert (
        re.findall(r"://|--index|--extra-index|--find-links|--trusted-host|@ |file:/", text) == []
    )
    assert re.findall(r"(?:^|\s)/\w+", text) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    unverified = [
        block.splitlines()[0] for block in blocks if PIN.match(block) and "--hash=" not in block
    ]

    assert unverified == []
    assert len(pins(lock)) > 20


def test_both_locks_agree() -> None:
    run, dev = (pins(lock) for lock in LOCKS)

    assert {name: version for name, version in run.items() if dev.get(name) != version} == {}


def test_the_locks_hold_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    run, dev = (pins(lock) for lock in LOCKS)
    needed = [*project["dependencies"], *extras["control-plane"]]

    assert [name for name in needed if canonical(name) not in run] == []
    assert [name for name in [*extras["lab"], *extras["dev"]] if canonical(name) not in dev] == []


def test_running_installs_no_tool_of_developers() -> None:
    assert {"pytest", "mypy", "ruff", "hypothesis", "grpcio-tools"} & set(
        pins("requirements.txt")
    ) == (set())
