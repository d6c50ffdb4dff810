from __future__ import annotations

import inspect

import pytest

from fleet_lab.fleets.ports import Placer, WorkerPort
from fleet_lab.fleets.workers import ProcessPlacer, ProcessWorker


@pytest.mark.parametrize(
    ("port", "adapter"), [(WorkerPort, ProcessWorker), (Placer, ProcessPlacer)]
)
def test_an_adapter_has_every_call_of_its_port(port: type, adapter: type) -> None:
    for name, call in inspect.getmembers(port, inspect.isfunction):
        if not name.startswith("_"):
            wanted = list(inspect.signature(call).parameters)
            assert wanted == list(inspect.signature(getattr(adapter, name)).parameters), name
