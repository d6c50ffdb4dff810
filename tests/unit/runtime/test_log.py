"""Log lines: fixed fields, nothing of a peer unescaped, a file that several processes rotate."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.log import (
    FILE_NAME,
    FILE_ROTATIONS,
    FILE_SIZE_BYTES,
    HANDLER_NAME,
    MAX_VALUE_CHARS,
    SharedRotatingFile,
    clean_text,
    configure,
    get_logger,
    level_number,
)
from module_gateway.runtime.settings import Logging, LogSink


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    root = logging.getLogger()
    for handler in [item for item in root.handlers if item.name == HANDLER_NAME]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(settings: Logging, stream: io.StringIO | None = None) -> tuple[io.StringIO, object]:
    stream = io.StringIO() if stream is None else stream
    configure(settings, "internal_server", stream)
    return stream, get_logger("module_gateway.test")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("left_button", "left_button"),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202eevil", "\\u202eevil"),
        (b"\xff\x00", "\\xff\\x00"),
        ("é→", "é→"),
        ("x" * 65, "x" * 64 + "…"),
        (7, "7"),
    ],
)
def test_peer_text_is_escaped_and_limited(text: object, expected: str) -> None:
    assert clean_text(text) == expected


@given(st.text() | st.binary())
def test_clean_text_is_always_printable_and_short(text: str | bytes) -> None:
    clean = clean_text(text, 16)

    assert clean.isprintable()
    assert len(clean) <= 17


def test_json_lines_have_time_level_component_and_event_first() -> None:
    stream, log = lines_of(Logging(format="json"))
    log.info("ready", devices="127.0.0.1:1")
    found = json.loads(stream.getvalue())

    assert list(found) == ["time", "level", "component", "event", "devices"]
    assert (found["level"], found["component"], found["event"], found["devices"]) == (
        "info",
        "internal_server",
        "ready",
        "127.0.0.1:1",
    )


def test_auto_is_json_off_a_terminal_and_coloured_text_on_one() -> None:
    stream, log = lines_of(Logging())
    log.info("event")
    assert json.loads(stream.getvalue())["event"] == "event"

    terminal, log = lines_of(Logging(), Terminal())
    log.info("event")
    assert "\x1b[" in terminal.getvalue()


def test_text_off_a_terminal_has_no_colour() -> None:
    stream, log = lines_of(Logging(format="text"))
    log.warning("something", role="x")

    assert "something" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_field_that_nobody_cleaned_cannot_forge_a_line() -> None:
    for form in ("text", "json"):
        stream, log = lines_of(Logging(format=form))
        log.info("connected", role="a\n2026-01-01 [info] forged \x1b[2J", long="y" * 9000)

        assert stream.getvalue().count("\n") == 1
        assert "\x1b" not in stream.getvalue()
        assert "y" * (MAX_VALUE_CHARS + 1) not in stream.getvalue()


def test_a_traceback_cannot_carry_control_characters() -> None:
    stream, log = lines_of(Logging(format="text"))
    error = ValueError("peer says \x1b[2J")
    log.error("crashed", exc_info=error)

    assert "peer says \\x1b[2J" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_the_level_of_the_console_holds() -> None:
    stream, log = lines_of(Logging(console=LogSink(use=True, level="WARNING"), format="text"))
    log.info("quiet")
    log.warning("loud")

    assert ("quiet" in stream.getvalue(), "loud" in stream.getvalue()) == (False, True)


def test_what_is_for_machines_is_left_out_of_text() -> None:
    stream, log = lines_of(Logging(format="text"))
    log.info("configuration", changed={}, in_full={"secretless": 1})
    machine, log = lines_of(Logging(format="json"))
    log.info("configuration", changed={}, in_full={"secretless": 1})

    assert ("secretless" in stream.getvalue(), "secretless" in machine.getvalue()) == (False, True)


def test_libraries_are_heard_from_warnings_on() -> None:
    stream, _ = lines_of(Logging(format="json"))
    logging.getLogger("aiomqtt").info("chatter")
    logging.getLogger("aiomqtt").warning("trouble %s", "x")
    [line] = stream.getvalue().splitlines()

    assert json.loads(line)["event"] == "trouble x"


def test_no_sink_means_no_lines() -> None:
    stream, log = lines_of(Logging(console=LogSink(use=False)))
    log.error("unheard")

    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("level", "number"), [("info", 20), ("Critical", 50), ("nonsense", 10), ("", 10)]
)
def test_levels_are_read_in_any_case_and_unknown_ones_are_debug(level: str, number: int) -> None:
    assert level_number(level) == number


def test_the_file_is_the_existing_gateways_with_its_rotation(tmp_path: Path) -> None:
    assert (FILE_NAME, FILE_SIZE_BYTES, FILE_ROTATIONS) == ("ModuleGateway.log", 52_428_800, 5)
    _, log = lines_of(Logging(file=LogSink(use=True, level="DEBUG", path=str(tmp_path))))
    log.debug("detail")

    [line] = (tmp_path / "ModuleGateway.log").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["event"] == "detail"


def test_case19_file_logging_without_its_folder_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logging\.file\.path is .* a folder that exists"):
        lines_of(Logging(file=LogSink(use=True, path=str(tmp_path / "none"))))


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, text, None, None)


def test_a_file_that_another_process_rotated_is_followed(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    ours, theirs = (SharedRotatingFile(path, size_bytes=100, rotations=2) for _ in range(2))
    ours.emit(record("a" * 60))
    theirs.emit(record("b" * 60))
    ours.emit(record("c" * 10))

    assert path.read_text() == "b" * 60 + "\n" + "c" * 10 + "\n"
    assert (tmp_path / f"{FILE_NAME}.1").read_text() == "a" * 60 + "\n"
    for handler in (ours, theirs):
        handler.close()


def test_two_that_want_to_rotate_at_once_rotate_once(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    ours, theirs = (SharedRotatingFile(path, size_bytes=100, rotations=2) for _ in range(2))
    ours.emit(record("a" * 60))
    ours.doRollover()
    theirs.doRollover()

    assert not (tmp_path / f"{FILE_NAME}.2").exists()
    for handler in (ours, theirs):
        handler.close()
