"""The only place that creates tasks: each has a name, and none dies unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

from module_gateway.runtime.log import get_logger

Result = TypeVar("Result")
OnFailure = Callable[[str, BaseException], None]
"""Told the task's name and what it died of, in the loop's thread."""

FAILED_TASK: Final = "failed_task"
"""Key by which the loop's exception handler knows the failure of a supervised task."""

_log = get_logger(__name__)


def start_task(
    coroutine: Coroutine[Any, Any, Result], name: str, on_failure: OnFailure | None = None
) -> asyncio.Task[Result]:
    """Run `coroutine` as a named, supervised task of the running loop.

    If it raises anything but CancelledError, that is logged once and `on_failure` is told; without
    one the loop's exception handler is, which ends a process that `run_process` started. The
    loop keeps only weak references to tasks: keep the result for as long as the task matters.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(coroutine, name=name)

    def finished(done: asyncio.Task[Result]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is None:
            return
        _log.error("task_failed", task=name, error=repr(error), exc_info=error)
        if on_failure is not None:
            on_failure(name, error)
        else:
            loop.call_exception_handler(
                {"message": f"task {name} failed", "exception": error, FAILED_TASK: name}
            )

    task.add_done_callback(finished)
    return task


async def stop_tasks(tasks: Iterable[asyncio.Task[Any]], timeout_s: float = 5.0) -> None:
    """Cancel the tasks and wait until they are over; those that resist are logged and left."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if not running:
        return
    _, resisting = await asyncio.wait(running, timeout=timeout_s)
    for task in resisting:
        _log.error("task_did_not_stop", task=task.get_name(), waited_s=timeout_s)
