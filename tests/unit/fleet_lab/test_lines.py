from __future__ import annotations

import io
import json

from fleet_lab.lines import Lines, printable
from module_gateway.protocol.identity import Device

DEVICE = Device.of(1001, 0, "left_button", "button", 2)


def test_a_command_is_said_when_it_changes() -> None:
    out = io.StringIO()
    lines = Lines(out, clock=lambda: 12.345)
    for command in (b"a", b"a", b"b", b"b", b"a"):
        lines.answered(DEVICE, b"s", command, 0.001)
    said = [line.split(maxsplit=1) for line in out.getvalue().splitlines()]
    assert [text for _, text in said] == [
        f"info  command device=1001/0/left_button {c}" for c in "aba"
    ]
    assert said[0][0].endswith(".345")


def test_a_pushed_command_is_always_said() -> None:
    out = io.StringIO()
    lines = Lines(out)
    lines.pushed(DEVICE, b"a")
    lines.pushed(DEVICE, b"a")
    assert out.getvalue().count("command device=1001/0/left_button a") == 2


def test_json_lines_are_objects_with_time_device_and_event() -> None:
    out = io.StringIO()
    lines = Lines(out, is_json=True, clock=lambda: 12.5)
    lines.connected(DEVICE)
    lines.refused(DEVICE, "why")
    lines.disconnected(DEVICE, "gone")
    lines.answered(DEVICE, b"s", b"\x00", 0.0125)
    lines.failed(DEVICE, "bad")
    entries = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [entry["event"] for entry in entries] == [
        "connected", "refused", "disconnected", "command", "failed",
    ]  # fmt: skip
    assert entries[3] == {
        "time_unix_ms": 12500, "device": "1001/0/left_button", "event": "command",
        "command": "\\x00", "latency_ms": 12.5,
    }  # fmt: skip


def test_peer_bytes_cannot_steer_the_terminal() -> None:
    assert printable(b"\x1b[2J\nok\xff \xc4\x8d") == "\\x1b[2J\\nok\\xff č"
    assert printable(b"x" * 500) == "x" * 400 + "…"
    out = io.StringIO()
    Lines(out).connected(Device.of(1, 1, "r\x1b\n", "n\x1b\n"))
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().count("\n") == 1
