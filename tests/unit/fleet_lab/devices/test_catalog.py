from __future__ import annotations

from pathlib import Path

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.devices.builtin import BUILTIN
from fleet_lab.devices.catalog import device_class
from fleet_lab.errors import LabError


class Mine(Device):
    """A device of a user's own."""


def test_built_ins_have_names() -> None:
    assert {name: device_class(name) for name in BUILTIN} == dict(BUILTIN)


def test_classes_are_taken_as_they_are_and_found_by_path(tmp_path: Path) -> None:
    assert device_class(Mine) is Mine
    assert device_class(f"{__name__}:Mine").__name__ == "Mine"
    script = tmp_path / "cars.py"
    script.write_text("from fleet_lab.devices.api import Device\nclass Car(Device): module = 9\n")
    assert device_class(f"{script}:Car").module == 9


def test_templates_come_as_objects_text_or_files(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text('{"k": 1}')
    for what in ({"k": 1}, '{"k": 1}', str(file), file):
        assert device_class(what)("a").sample() == {"k": 1}


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("missoin", r"^device 'missoin' is none of mission, .*; did you mean 'mission'\?$"),
        ("fleet_lab.sinks.api:Sink", "is no subclass of fleet_lab.Device"),
        (dict, "is no subclass of fleet_lab.Device"),
        ("no.such:Thing", "cannot import 'no.such:Thing'"),
        ('{"a": ', "^template is no JSON: "),
        ({"a": {"$walk": 1}}, r"^template: \$\.a\.\$walk: "),
        ("no.json", "^template no.json: No such file"),
    ],
)
def test_what_is_no_device_is_one_line(what: str, text: str) -> None:
    with pytest.raises(LabError, match=text) as caught:
        device_class(what)
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (78, False)
