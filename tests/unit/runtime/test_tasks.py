"""No task dies unnoticed."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from module_gateway.runtime.tasks import FAILED_TASK, start_task, stop_tasks


async def fail() -> None:
    raise ValueError("broken")


async def test_a_task_has_its_name_and_its_result() -> None:
    async def answer() -> int:
        return 42

    task = start_task(answer(), "answer")

    assert (task.get_name(), await task) == ("answer", 42)


async def test_O4_a_crash_is_logged_and_reported() -> None:
    told: list[tuple[str, BaseException]] = []
    with capture_logs() as logs:
        task = start_task(fail(), "worker", lambda name, error: told.append((name, error)))
        await asyncio.wait([task])
        await asyncio.sleep(0)  # its callbacks run in the next turn

    assert [(name, str(error)) for name, error in told] == [("worker", "broken")]
    assert [(line["event"], line["task"], line["log_level"]) for line in logs] == [
        ("task_failed", "worker", "error")
    ]


async def test_O4_without_a_listener_the_loops_exception_handler_is_told() -> None:
    loop = asyncio.get_running_loop()
    contexts: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _loop, context: contexts.append(context))
    with capture_logs():
        task = start_task(fail(), "worker")
        await asyncio.wait([task])
        await asyncio.sleep(0)

    assert [context[FAILED_TASK] for context in contexts] == ["worker"]


async def test_a_cancelled_task_is_no_failure() -> None:
    told: list[str] = []
    task = start_task(asyncio.Event().wait(), "waiter", lambda name, _: told.append(name))
    with capture_logs() as logs:
        await stop_tasks([task])

    assert (task.cancelled(), told, logs) == (True, [], [])


async def test_a_task_that_resists_is_said_and_left() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = start_task(stubborn(), "stubborn")
    await asyncio.sleep(0)
    with capture_logs() as logs:
        await stop_tasks([task], timeout_s=0.01)
    release.set()
    await task

    assert [(line["event"], line["task"]) for line in logs] == [("task_did_not_stop", "stubborn")]


async def test_stopping_nothing_is_nothing() -> None:
    await stop_tasks([])
