"""What docs/operate.md prints about looking at a running gateway can be typed.

`tests/integration/test_observe.py` runs each of these commands beside a real gateway.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from module_gateway.observe.bundle import app as bundle
from module_gateway.observe.status import app as status
from module_gateway.observe.tap import app as tap

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operate.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PARSERS = {
    "bundle": bundle.build_parser,
    "status": status.build_parser,
    "tap": tap.build_parser,
}
COMMANDS = [
    line
    for block in BLOCK.findall(PAGE)
    for line in block.splitlines()
    if line.split()[1] in PARSERS
]


def test_each_command_is_shown() -> None:
    assert {line.split()[1] for line in COMMANDS} == set(PARSERS)


@pytest.mark.parametrize("line", COMMANDS)
def test_what_is_shown_can_be_typed(line: str) -> None:
    program, command, *words = line.split()
    assert program == "module-gateway"
    PARSERS[command]().parse_args(words)
