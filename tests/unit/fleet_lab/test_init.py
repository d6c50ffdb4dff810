from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fleet_lab


@pytest.mark.parametrize("name", fleet_lab.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(fleet_lab, name) is not None
    assert name in dir(fleet_lab)


def test_what_type_checkers_see_is_what_is_there() -> None:
    text = Path(str(fleet_lab.__file__)).read_text(encoding="utf-8")
    seen = re.findall(r"^    from fleet_lab\.(\S+) import (.+)$", text, re.MULTILINE)
    assert {name.strip(): place for place, names in seen for name in names.split(",")} == (
        fleet_lab._PLACES
    )
    assert sorted(fleet_lab.__all__) == sorted(fleet_lab._PLACES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Fleets'"):
        fleet_lab.Fleets  # noqa: B018


def test_importing_the_package_imports_nothing_else() -> None:
    script = "import sys, fleet_lab; print([m for m in sys.modules if m.startswith('fleet_lab.')])"
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
