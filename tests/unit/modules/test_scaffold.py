"""The written module and test work as written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from module_gateway.modules.catalog import load_modules
from module_gateway.modules.scaffold import create, next_steps
from module_gateway.protocol.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[3]


def test_written_test_passes(tmp_path: Path) -> None:
    folder = tmp_path / "my" / "modules"
    assert create("door_lock", folder) == [
        folder / "door_lock_module.py",
        folder / "test_door_lock_module.py",
    ]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert run.returncode == 0, run.stdout
    assert "11 passed" in run.stdout


def test_written_module_is_found_by_its_import_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create("gate2", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = load_modules({"2000": "gate2_module:Gate2Module"}, {})[2000]
    assert module.name == "gate2"
    assert module.status_data_valid(b'{"value": 1}', 0)
    assert module.generate_first_command(0) == b'{"target":0}'


@pytest.mark.parametrize("name", ["", "Door", "2door", "door-lock", "../x", "class", "é", "x" * 65])
def test_name_must_be_a_lower_case_word(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lower-case word"):
        create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_name_of_a_built_in_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no built-in module has"):
        create("mission", tmp_path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "test_door_module.py"
    mine.write_text("mine")
    with pytest.raises(ConfigError, match="do not exist"):
        create("door", tmp_path)
    assert list(tmp_path.iterdir()) == [mine]
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "hint"), [("Door-Sensor", "'door_sensor' would do"), ("DoorLock", "'door_lock' would")]
)
def test_a_name_that_is_nearly_one_is_put_right(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        create(name, tmp_path)


def test_the_next_steps_name_class_number_and_folder(tmp_path: Path) -> None:
    text = next_steps("door_lock", tmp_path)

    assert '"2000": "door_lock_module:DoorLockModule"' in text
    assert f"PYTHONPATH={tmp_path}" in text
