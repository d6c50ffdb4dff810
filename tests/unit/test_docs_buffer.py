"""What docs/operate.md prints about the buffer is what the command prints."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from module_gateway.module_handler.buffer.app import build_parser
from module_gateway.module_handler.buffer.lines import entry_of, line_of
from module_gateway.module_handler.buffer.place import Place
from module_gateway.module_handler.buffer.stat_report import report, text
from module_gateway.protocol.identity import Device
from module_gateway.runtime.config import default_settings
from tests.unit.module_handler.buffer.stores import NOW, appended, committed, entry, store_at

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operate.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## The buffer\n")[2].partition("\n## ")[0]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = {found[1]: found[2] for found in BLOCK.finditer(SECTION)}
A, STRANGER = Device.of(3, 0, "a"), Device.of(4711, 0, "a")


async def test_the_figures_are_printed_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Place, "handler_pid", lambda _self: 4711)
    place = Place(default_settings(), tmp_path, store_at(tmp_path))
    entries = [entry(1, A, 3_700), entry(2, A, 60), entry(3, STRANGER, 50)]
    await committed(place.store, *appended(entries))
    found = text(report(place, NOW, has_devices=False)).replace(
        str(tmp_path), "/var/lib/module-gateway"
    )
    lines = [line for line in found.splitlines() if not line.startswith("files")]
    shown = [line for line in BLOCKS["text"].splitlines() if not line.startswith("files")]
    assert lines == shown


def test_the_line_of_an_export_is_one() -> None:
    (line,) = BLOCKS["json entry"].splitlines()
    assert line == line_of(entry_of(line))


def test_each_command_is_shown_and_can_be_typed() -> None:
    commands = [line.split()[2:] for line in BLOCKS["sh run"].splitlines()]
    parser = build_parser(int(time.time() * 1000))
    for words in commands:
        parser.parse_args(words)
    assert {"stat", "check", "repair", "export", "purge", "replay"} == {
        each[0] for each in commands
    }
    assert {each[0] for each in commands} == set(
        re.findall(r"^\| \*(\w+)\* \|", SECTION, re.MULTILINE)
    )
