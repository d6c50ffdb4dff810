from __future__ import annotations

from pathlib import Path

import pytest

from fleet_lab.devices.builtin import Mission
from fleet_lab.errors import LabError
from fleet_lab.fleets.classes import device_factory
from tests.unit.fleet_lab.fleets.stand_ins import Walker


def test_built_in_import_path_and_template() -> None:
    assert Mission is device_factory("mission")
    assert Walker is device_factory(f"{Walker.__module__}:Walker")
    assert {"speed": 5} == dict(device_factory({"speed": 5})("x", None, {}).sample())


def test_a_class_of_a_script(tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text("from fleet_lab.devices.api import Device\nclass Own(Device): ...\nX = 1\n")
    assert "Own" == device_factory(f"{script}:Own").__name__
    with pytest.raises(LabError, match="is no subclass"):
        device_factory(f"{script}:X")
