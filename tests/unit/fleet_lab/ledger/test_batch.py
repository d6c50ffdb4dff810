"""What a worker tells arrives as it was told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_lab.ledger import batch
from fleet_lab.ledger.batch import BatchRecorder, replay


class Remembering:
    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def sent(self, *event):
        self.told.append(("sent", *event))

    def answered(self, *event):
        self.told.append(("answered", *event))

    def closed(self, *event):
        self.told.append(("closed", *event))

    def refused(self, *event):
        self.told.append(("refused", *event))

    def connected(self, *event):
        self.told.append(("connected", *event))


devices = st.integers(0, 2**32 - 1)
times = st.floats(0, 1e9)
events = st.one_of(
    st.tuples(st.just("sent"), devices, devices, times, times),
    st.tuples(st.just("answered"), devices, devices, times, st.booleans()),
    st.tuples(st.just("closed"), devices, st.text(), times),
    st.tuples(st.just("refused"), devices, st.integers(0, 9)),
    st.tuples(st.just("connected"), devices, times),
)
ORDER = {"sent": 0, "answered": 1}


@settings(max_examples=60, deadline=None)
@given(st.lists(events, max_size=40))
def test_a_batch_tells_every_event_with_sends_first(history):
    recorder, heard = BatchRecorder(), Remembering()
    for name, *event in history:
        getattr(recorder, name)(*event)
    assert len(recorder) == len(history)
    assert replay(recorder.take(), heard) == 0
    assert heard.told == sorted(history, key=lambda event: ORDER.get(event[0], 2))
    assert len(recorder) == 0


def test_taking_starts_anew():
    recorder, heard = BatchRecorder(), Remembering()
    recorder.sent(1, 1, 0.0, 0.0)
    recorder.take()
    replay(recorder.take(), heard)
    assert heard.told == []


def test_what_nobody_takes_is_dropped_and_counted(monkeypatch):
    monkeypatch.setattr(batch, "MAX_EVENTS", 2)
    recorder, heard = BatchRecorder(), Remembering()
    for number in range(1, 4):
        recorder.sent(0, number, 0.0, 0.0)
        recorder.answered(0, number, 0.0, True)
        recorder.connected(0, 0.0)
    assert replay(recorder.take(), heard) == 3
    assert len(heard.told) == 6


def broken() -> list[bytes]:
    recorder = BatchRecorder()
    recorder.sent(1, 1, 0.0, 0.0)
    good = recorder.take()
    recorder._other("exploded", 1)
    return [b"", good[:-1], good + b"x", good[:16] + b"\x09" + good[17:], recorder.take()]


@pytest.mark.parametrize("data", broken(), ids=["empty", "short", "long", "format", "event"])
def test_what_is_no_batch_is_refused(data):
    with pytest.raises(ValueError, match="batch"):
        replay(data, Remembering())
