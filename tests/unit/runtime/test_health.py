"""Ready when all checks are true."""

from __future__ import annotations

from module_gateway.runtime.health import STARTED, Health, Progress


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


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_work_that_nobody_waits_for_does_not_stand_still() -> None:
    clock = Clock()
    progress = Progress(clock)
    beat = progress.expect("commits", 5.0)
    clock.now += 1000
    beat.done()
    clock.now += 1000

    assert progress.stalled() == ""


def test_work_stands_still_when_none_is_done_for_its_limit() -> None:
    clock = Clock()
    progress = Progress(clock)
    commits, _ = progress.expect("commits", 5.0), progress.expect("reads", 1.0)
    commits.wait()
    clock.now += 4.0
    commits.wait()  # more of it
    clock.now += 1.0
    assert progress.stalled() == ""

    clock.now += 0.5
    assert progress.stalled() == "commits for 6 s"

    commits.done(is_more=True)
    assert progress.stalled() == ""

    clock.now += 6.0
    assert progress.stalled() == "commits for 6 s"

    commits.done()
    assert (progress.stalled(), commits.age_s()) == ("", 0.0)


def test_a_stop_of_the_whole_process_is_no_fault_of_its_work() -> None:
    clock = Clock()
    progress = Progress(clock)
    beat = progress.expect("commits", 5.0)
    beat.wait()
    clock.now += 600.0
    progress.excuse(598.0)
    assert (progress.stalled(), beat.age_s()) == ("", 2.0)

    progress.excuse(10.0)
    assert beat.age_s() == 0.0
