from __future__ import annotations

import json

from module_gateway.control_plane.decode import Decoder
from module_gateway.modules.catalog import load_modules
from module_gateway.observe.secrets import HIDDEN
from module_gateway.observe.tap.lines import PAYLOAD_CHARS, Lines
from module_gateway.observe.tap.seen import Seen
from module_gateway.protocol.identity import Identity

A = Identity(1000, 0, "left")
NOON = 1_795_000_000_123
DECODER = Decoder(load_modules({"1000": "example", "3": "transparent"}, {}))


def seen(payload: bytes | None = b"", device: Identity | None = A, **more: object) -> Seen:
    devices = () if device is None else (device,)
    fields = {"facts": (("instance", 4), ("sequence", 9)), "payload_of": "status", **more}
    return Seen(
        "bus", "status", "server/0001", "handler/0002", "status_request", devices,
        payload=payload, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def text(what: Seen, decoder: Decoder | None = DECODER) -> str:
    return Lines(decoder, is_json=False).line(what, NOON)


def test_a_line_has_everything_in_columns() -> None:
    line = text(seen(b'{"n": 1}'), None)
    assert line[8:12] == ".123"
    assert line[13:].split() == [
        "bus", "server/0001", "→", "handler/0002", "status", "1000/0/left", "instance=4",
        "sequence=9", "8", "B",
    ]  # fmt: skip


def test_columns_stay_aligned_when_a_role_is_longer() -> None:
    lines = Lines(None, is_json=False)
    lines.line(seen(device=Identity(1, 0, "x" * 25)), NOON)
    after = [lines.line(seen(device=Identity(1, 0, role)), NOON) for role in ("a", "y" * 25)]
    assert len({each.index("instance=") for each in after}) == 1


def test_payloads_are_shown_only_when_asked_for() -> None:
    assert '"state"' not in text(seen(b'{"state": 1}'), None)
    assert '{"state": 1}' in text(seen(b'{"state": 1}'))


def test_what_departs_from_the_modules_shape_is_told() -> None:
    assert "not as its module declares" in text(seen(b'{"pressed": "maybe"}'))


def test_secrets_in_payloads_are_hidden_in_both_forms() -> None:
    what = seen(b'{"wifi": {"password": "geheim"}}', Identity(3, 0, "a"))
    for is_json in (False, True):
        line = Lines(DECODER, is_json=is_json).line(what, NOON)
        assert "geheim" not in line
        assert HIDDEN in line


def test_bytes_that_are_no_json_are_base64() -> None:
    assert "base64:/wA=" in text(seen(b"\xff\x00", Identity(3, 0, "a")))


def test_a_long_payload_is_cut_for_people_and_whole_for_programs() -> None:
    what = seen(json.dumps({"n": "x" * 2 * PAYLOAD_CHARS}).encode(), Identity(3, 0, "a"))
    assert len(text(what)) < 2 * PAYLOAD_CHARS
    line = Lines(DECODER, is_json=True).line(what, NOON)
    assert len(json.loads(line)["payload"]["data"]["n"]) == 2 * PAYLOAD_CHARS


def test_a_device_cannot_forge_a_line() -> None:
    evil = Identity(3, 0, "a\n20:00:00.000 bus \x1b[2J")
    for is_json in (False, True):
        line = Lines(DECODER, is_json=is_json).line(seen(b'"\\u001b[2J"', evil), NOON)
        assert line.isprintable()


def test_a_connection_that_nobody_named_is_a_question_mark_and_no_device_is_a_dash() -> None:
    assert " ? " in text(seen(device=None))
    assert " - " in text(seen(None, device=None, facts=(("endpoint", 0),)))


def test_of_several_devices_the_first_and_their_number_are_shown() -> None:
    what = Seen("bus", "live", "a", "b", "live_connections", (A, A, A))
    assert "1000/0/left +2" in text(what)


def test_json_has_every_field_and_the_time_in_utc() -> None:
    found = json.loads(Lines(DECODER, is_json=True).line(seen(b'{"n": 1}'), NOON))
    assert found == {
        "time": "2026-11-18T11:06:40.123Z", "hop": "bus", "from": "server/0001",
        "to": "handler/0002", "kind": "status", "message": "status_request",
        "devices": ["1000/0/left"], "fields": {"instance": 4, "sequence": 9},
        "payload_of": "status", "payload_bytes": 8,
        "payload": {"encoding": "json", "data": {"n": 1}, "problem": found["payload"]["problem"]},
    }  # fmt: skip


def test_a_module_that_is_not_configured_does_not_matter() -> None:
    assert '{"n": 1}' in text(seen(b'{"n": 1}', Identity(77, 0, "a")))
