"""kill -9 of the control plane under load: what it acknowledged is in its history.

Few kills here; twenty are `python -m tests.chaos --rows KC --kills 20 --devices 20`.
"""

from __future__ import annotations

import os
from random import SystemRandom

import pytest

from tests.chaos import kills
from tests.integration.stack import RECOVERY_LIMIT_S

KILLS = 5
DEVICES = 20


@pytest.mark.timeout(300)
async def test_what_a_killed_control_plane_acknowledged_is_in_its_history() -> None:
    """A gateway forgets what was acknowledged: what is lost here would be lost for good."""
    given = os.environ.get("MODULE_GATEWAY_CHAOS_SEED")
    seed = int(given) if given else SystemRandom().randrange(10**6)
    print(f"MODULE_GATEWAY_CHAOS_SEED={seed}")  # noqa: T201  # pytest shows it when the test fails
    verdict = await kills.run(
        seed,
        devices=DEVICES,
        parts=("control_plane",),
        kills=KILLS,
        pause_s=(0.3, 1.5),
        calm_s=2.0,
    )

    assert [] == verdict.failures(RECOVERY_LIMIT_S), verdict.as_json()
    assert verdict.answered > DEVICES * KILLS
