from __future__ import annotations

from fleet_lab.sinks.api import SinkUrl
from fleet_lab.sinks.console import ConsoleSink
from tests.unit.fleet_lab.sinks.ports import RecordingPort


async def test_the_answer_never_comes_within_publish() -> None:
    port, sink = RecordingPort(), ConsoleSink(SinkUrl("console:"))
    await sink.open(port)
    sink.publish(1, b"{}")
    assert not sink.can_publish
    sink.publish(2, b"{}")
    assert port.said == [("connected",), ("failed", 2, "the last status is unanswered")]
    await sink.close()
    assert len(port.said) == 2
