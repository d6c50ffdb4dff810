from __future__ import annotations

import asyncio

import pytest

from fleet_lab.errors import LabError
from fleet_lab.sinks.api import DevicePort, SinkUrl
from fleet_lab.sinks.session import OUTGOING_MAX, LostError, SessionSink, until_one_ends
from tests.unit.fleet_lab.sinks.ports import RecordingPort


class Scripted(SessionSink):
    """Stands until it is told how to end."""

    def __init__(self, *endings: BaseException | None) -> None:
        super().__init__(SinkUrl("test:", "test"))
        self.endings = list(endings)
        self.end: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def _live(self, port: DevicePort) -> None:
        if self.endings and (ending := self.endings.pop(0)) is not None:
            raise ending
        self._stands(port)
        ending = await self.end.get()
        if ending is not None:
            raise ending


async def test_statuses_that_wait_when_the_connection_ends_have_failed() -> None:
    port, sink = RecordingPort(), Scripted()
    await sink.open(port)
    sink.publish(1, b"x")
    sink.end.put_nowait(LostError("gone"))
    await port.saw("connected", 2)
    assert port.said == [
        ("connected",),
        ("failed", 1, "the connection ended before it was sent"),
        ("disconnected", "gone"),
        ("connected",),
    ]
    await sink.close()


async def test_too_many_waiting_statuses_fail_with_a_reason() -> None:
    port, sink = RecordingPort(), Scripted()
    await sink.open(port)
    for number in range(OUTGOING_MAX + 1):
        sink.publish(number, b"x")
    assert not sink.can_publish
    assert port.all("failed") == [(OUTGOING_MAX, "too many statuses wait")]
    await sink.close()


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (LostError("not at home"), "not at home"),
        (TimeoutError(), "no answer in time"),
        (OSError("bad day"), "bad day"),
    ],
)
async def test_a_first_attempt_that_fails_is_one_line(ending: Exception, text: str) -> None:
    port, sink = RecordingPort(), Scripted(ending)
    with pytest.raises(LabError, match=rf"^cannot reach test:: {text}$"):
        await sink.open(port)
    assert port.said == []
    await sink.open(port)
    assert port.said == [("connected",)]
    await sink.close()


async def test_an_end_without_a_reason_has_one() -> None:
    port, sink = RecordingPort(), Scripted()
    await sink.open(port)
    sink.end.put_nowait(None)
    assert await port.saw("disconnected") == [("the far side closed the connection",)]
    await sink.close()


async def test_a_defect_of_the_sink_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        await Scripted(ZeroDivisionError()).open(RecordingPort())


async def test_attempts_that_fail_are_told_once() -> None:
    port, sink = RecordingPort(), Scripted(None, LostError("still away"))
    await sink.open(port)
    sink.end.put_nowait(LostError("gone"))
    await port.saw("connected", 2)
    assert port.all("disconnected") == [("gone",)]
    await sink.close()


async def test_closing_ends_it_although_its_library_answers_with_an_error() -> None:
    class Stubborn(SessionSink):
        async def _live(self, port: DevicePort) -> None:
            self._stands(port)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise LostError("gone") from None

    port, sink = RecordingPort(), Stubborn(SinkUrl("test:", "test"))
    await sink.open(port)
    async with asyncio.timeout(30):
        await sink.close()
    assert port.said == [("connected",)]


async def test_the_first_work_that_ends_ends_the_others() -> None:
    ended = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("endless")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise LostError("now")

    with pytest.raises(LostError, match="now"):
        await until_one_ends("works", endless(), fails())
    assert ended == ["endless"]
