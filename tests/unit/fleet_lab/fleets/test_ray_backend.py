"""What needs no cluster; the rest is in tests/integration/test_ray_cluster.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fleet_lab.errors import LabError
from fleet_lab.fleets.running import RunningFleet


def test_nothing_imports_ray_unless_a_fleet_runs_on_it() -> None:
    program = (
        "import sys, fleet_lab.fleets.fleet, fleet_lab.fleets.workers, fleet_lab.fleets.worker;"
        "sys.exit('ray' in sys.modules)"
    )
    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode


async def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "fleet_lab.fleets.ray_backend", raising=False)
    with pytest.raises(LabError, match=r"pip install 'module-gateway\[ray\]'"):
        await RunningFleet("cars", "io", on="ray", workers=1).start()
