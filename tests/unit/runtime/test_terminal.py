"""One terminal for many processes."""

from __future__ import annotations

import io
import threading

from hypothesis import given
from hypothesis import strategies as st

from module_gateway.runtime.terminal import (
    MAX_WAITING_LINES,
    LineSplitter,
    Terminal,
    TerminalStream,
)


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_line_carries_its_components_name() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream, ("a", "long_name"), {})
    terminal.show("a", "hello")
    terminal.say("READY")
    terminal.close()

    assert stream.getvalue() == "a         │ hello\nREADY\n"


def test_colours_are_for_terminals_and_no_color_is_respected() -> None:
    for stream, environ, is_coloured in (
        (Tty(), {}, True),
        (Tty(), {"NO_COLOR": "1"}, False),
        (io.StringIO(), {}, False),
    ):
        terminal = Terminal(stream, ("a",), environ)
        terminal.close()

        assert ("\x1b[" in terminal.prefixed("a", "x")) is is_coloured


def test_a_warning_stands_out_of_the_lines_of_a_terminal() -> None:
    terminal = Terminal(Tty(), ("a",), {})
    terminal.close()
    shown = [
        terminal.prefixed("a", f"15:04:05.123 {level} event").partition("15:04:05.123 ")[2]
        for level in ("info ", "warn ", "error")
    ]

    assert shown == ["info  event", "\x1b[33mwarn \x1b[0m event", "\x1b[31merror\x1b[0m event"]


@given(st.lists(st.binary(max_size=40)), st.integers(1, 7))
def test_any_split_of_the_bytes_gives_the_same_lines(lines: list[bytes], step: int) -> None:
    whole = b"".join(line.replace(b"\n", b"") + b"\n" for line in lines)
    at_once, in_pieces = LineSplitter(), LineSplitter()
    pieces = [whole[at : at + step] for at in range(0, len(whole), step)]

    assert [line for piece in pieces for line in in_pieces.feed(piece)] == at_once.feed(whole)


def test_a_line_without_end_comes_in_pieces_of_bounded_length() -> None:
    splitter = LineSplitter(max_bytes=4)

    assert splitter.feed(b"abcdefghij") == ["abcd", "efgh", "ij"]
    assert splitter.feed(b"kl") == []
    assert splitter.finish() == ["kl"]


def test_a_terminal_that_blocks_costs_lines_and_never_time() -> None:
    release, stream = threading.Event(), io.StringIO()

    class Blocked(io.StringIO):
        def write(self, text: str) -> int:
            release.wait()
            return stream.write(text)

    terminal = Terminal(Blocked(), (), {})
    for _ in range(MAX_WAITING_LINES + 10):
        terminal.say("x")
    release.set()
    terminal.close()

    assert terminal.dropped >= 9
    assert f"({terminal.dropped} lines were dropped)" in stream.getvalue()


def test_a_terminal_that_is_gone_is_survived() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    terminal = Terminal(Gone(), (), {})
    terminal.say("x")
    terminal.close()

    assert terminal.dropped == 1


def test_log_lines_of_our_own_go_the_same_way() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream, ("gateway",), {})
    TerminalStream(terminal, "gateway").write("one\ntwo\n")
    terminal.close()

    assert stream.getvalue() == "gateway │ one\ngateway │ two\n"
