from __future__ import annotations

import pytest

from module_gateway.control_plane.events import CommandState


@pytest.mark.parametrize("state", CommandState)
def test_only_waiting_and_sent_may_still_change(state):
    assert state.is_final == (state.value not in {"waiting", "sent"})
