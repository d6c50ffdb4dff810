"""The line between engine and ledger."""

import inspect

from fleet_lab.recorder import NullRecorder, Recorder


def test_null_recorder_has_the_signatures_of_the_protocol():
    names = [name for name in vars(Recorder) if not name.startswith("_")]
    assert names == ["sent", "answered", "closed", "refused", "connected"]
    for name in names:
        expected = inspect.signature(getattr(Recorder, name))
        assert inspect.signature(getattr(NullRecorder, name)) == expected, name


def test_null_recorder_swallows_everything():
    recorder = NullRecorder()
    recorder.connected(0, 1.0)
    recorder.sent(0, 1, 1.0, 1.0)
    recorder.answered(0, 1, 1.1, True)
    recorder.closed(0, "end", 1.2)
    recorder.refused(0, 1)
    assert not hasattr(recorder, "__dict__")
