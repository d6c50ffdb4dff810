"""What a tap saw."""

from __future__ import annotations

import pytest

from fleet_lab.ledger.events import Upstream
from module_gateway.protocol.external import DeviceState
from module_gateway.protocol.identity import Identity


@pytest.mark.parametrize("state", list(DeviceState))
def test_only_connecting_is_connecting(state):
    upstream = Upstream("v", "s", 1, Identity(3, 0, "r"), 1, state, 0.0)
    assert upstream.is_connecting is (state is DeviceState.CONNECTING)
