from __future__ import annotations

import io
import threading

from module_gateway.observe.tap.output import Output

LIMIT_S = 30.0


class Slow(io.StringIO):
    """Takes nothing before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        self.asked.set()
        assert self.go_on.wait(LIMIT_S)
        return super().write(text)


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def nobody() -> None:
    raise AssertionError


def test_lines_are_written_in_order_and_the_end_waits_for_them() -> None:
    stream = io.StringIO()
    output = Output(stream, nobody)
    assert all(output.say(f"{number}") for number in range(100))
    output.close()
    assert stream.getvalue().splitlines() == [str(number) for number in range(100)]
    assert output.dropped == 0


def test_a_slow_reader_holds_up_nobody_and_what_it_missed_is_counted() -> None:
    stream = Slow()
    output = Output(stream, nobody, max_lines=2)
    assert output.say("first")
    assert stream.asked.wait(LIMIT_S)
    assert [output.say(text) for text in "abc"] == [True, True, False]
    assert output.dropped == 1
    stream.go_on.set()
    output.close(LIMIT_S)
    assert stream.getvalue() == "first\na\nb\n"


def test_the_end_does_not_wait_for_a_reader_that_stands_still() -> None:
    stream = Slow()
    output = Output(stream, nobody, max_lines=1)
    output.say("first")
    assert stream.asked.wait(LIMIT_S)
    output.say("second")
    output.close(0.01)
    stream.go_on.set()


def test_that_the_reader_is_gone_is_told_once() -> None:
    gone: list[str] = []
    told = threading.Event()

    def tell() -> None:
        gone.append("gone")
        told.set()

    output = Output(Gone(), tell)
    output.say("a")
    assert told.wait(LIMIT_S)
    output.say("b")
    output.close(LIMIT_S)
    assert gone == ["gone"]
