from __future__ import annotations

import asyncio

from fleet_lab.cancelling import cancel_all


async def test_all_have_ended_also_those_that_swallow_a_cancellation() -> None:
    swallowed = 0

    async def swallowing() -> None:
        nonlocal swallowed
        while swallowed < 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.Event().wait()

    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError

    async def ended() -> int:
        return 1

    tasks = [asyncio.create_task(work()) for work in (swallowing, failing, ended)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await cancel_all(*tasks)
    assert [True, False, False] == [task.cancelled() for task in tasks]
    assert isinstance(tasks[1].exception(), ValueError)
    assert 1 == tasks[2].result()


async def test_nothing_to_cancel_is_nothing_to_wait_for() -> None:
    await cancel_all()
