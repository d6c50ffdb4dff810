"""Ready when all checks are true."""

from __future__ import annotations

from module_gateway.runtime.health import STARTED, Health


def test_a_process_is_not_ready_before_it_says_so() -> None:
    health = Health()

    assert (health.is_ready, health.report()) == (
        False,
        {"ready": False, "checks": {"started": {"ok": False, "detail": "starting"}}},
    )


def test_one_failed_check_is_enough() -> None:
    health = Health()
    health.set(STARTED, True)
    assert health.is_ready

    health.set("bus", False, "down")
    assert not health.is_ready

    health.set("bus", True)
    assert health.is_ready
