"""A message as one line: aligned for people, JSON for programs. Pure.

Text of peers is escaped and cut; fields of payloads whose name says that they are secret are
hidden, in both forms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from module_gateway.control_plane.decode import Payload
from module_gateway.observe.secrets import without_secrets
from module_gateway.observe.tap.seen import Fact, Seen
from module_gateway.runtime.log import clean_text
from module_gateway.runtime.text_lines import text_value

ROUTE_WIDTH: Final = 27
"""`handler/91c0 → server/3f2a`, and `gateway → control plane`."""
KIND_WIDTH: Final = 10
DEVICE_WIDTHS: Final = (20, 40)
"""At first, and at most: the column grows with the longest role so far."""
SIZE_WIDTH: Final = 7
FACTS_WIDTHS: Final = (34, 60)
"""Likewise, with the longest facts so far."""
PAYLOAD_CHARS: Final = 400
"""Of a payload on a person's line; a JSON line has all of it."""
UNKNOWN: Final = "?"


class Decoder(Protocol):
    """Shows payloads: `control_plane.decode.Decoder`."""

    def status(self, module: int, payload: bytes) -> Payload:
        """A status of this module."""

    def command(self, module: int, payload: bytes) -> Payload:
        """A command of this module."""

    def error(self, payload: bytes) -> Payload:
        """An error aggregate."""


class Lines:
    """Writes messages as lines."""

    def __init__(self, decoder: Decoder | None, *, is_json: bool) -> None:
        """`decoder` None: of payloads only the size is shown."""
        self._decoder = decoder
        self._is_json = is_json
        self._device_width, self._facts_width = DEVICE_WIDTHS[0], FACTS_WIDTHS[0]

    def line(self, seen: Seen, time_unix_ms: int) -> str:
        """Without a line break at its end."""
        payload = self._decoded(seen)
        if self._is_json:
            return json.dumps(_object(seen, time_unix_ms, payload), ensure_ascii=True)
        return self._text(seen, time_unix_ms, payload)

    def _decoded(self, seen: Seen) -> Payload | None:
        if self._decoder is None or seen.payload is None or not seen.payload:
            return None
        module = seen.devices[0].module if seen.devices else 0
        match seen.payload_of:
            case "command":
                shown = self._decoder.command(module, seen.payload)
            case "status":
                shown = self._decoder.status(module, seen.payload)
            case _:
                shown = self._decoder.error(seen.payload)
        return shown.model_copy(update={"data": without_secrets(shown.data)})

    def _text(self, seen: Seen, time_unix_ms: int, payload: Payload | None) -> str:
        moment = datetime.fromtimestamp(time_unix_ms / 1000).astimezone()
        clock = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
        device = _device(seen)
        self._device_width = min(max(self._device_width, len(device)), DEVICE_WIDTHS[1])
        size = "" if seen.payload is None else f"{len(seen.payload)} B"
        facts = " ".join(_fact(*fact) for fact in seen.facts)
        self._facts_width = min(max(self._facts_width, len(facts)), FACTS_WIDTHS[1])
        columns = (
            clock,
            f"{seen.hop:<8}",
            f"{f'{seen.sender} → {seen.receiver}':<{ROUTE_WIDTH}}",
            f"{seen.kind:<{KIND_WIDTH}}",
            f"{device:<{self._device_width}}",
            f"{facts:<{self._facts_width}}",
            f"{size:>{SIZE_WIDTH}}",
            "" if payload is None else _payload(payload),
        )
        return " ".join(columns).rstrip()


def _device(seen: Seen) -> str:
    if not seen.devices:
        return UNKNOWN if ("instance" in dict(seen.facts)) else "-"
    first = clean_text(seen.devices[0])
    return first if len(seen.devices) == 1 else f"{first} +{len(seen.devices) - 1}"


def _fact(name: str, value: Fact) -> str:
    shown = value if isinstance(value, bool | int) else clean_text(value)
    return name if value is True else f"{name}={text_value(shown)}"


def _payload(payload: Payload) -> str:
    if payload.encoding == "base64":
        return clean_text(f"base64:{payload.data}", PAYLOAD_CHARS)
    shown = json.dumps(payload.data, ensure_ascii=False, separators=(", ", ": "))
    problem = f"  (not as its module declares: {payload.problem})" if payload.problem else ""
    return clean_text(shown, PAYLOAD_CHARS) + clean_text(problem, PAYLOAD_CHARS)


def _object(seen: Seen, time_unix_ms: int, payload: Payload | None) -> Mapping[str, Any]:
    moment = datetime.fromtimestamp(time_unix_ms / 1000, UTC)
    found: dict[str, Any] = {
        "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z",
        "hop": seen.hop,
        "from": seen.sender,
        "to": seen.receiver,
        "kind": seen.kind,
        "message": seen.name,
        "devices": [str(each) for each in seen.devices],
        "fields": dict(seen.facts),
    }
    if seen.payload is not None:
        found["payload_of"], found["payload_bytes"] = seen.payload_of, len(seen.payload)
    if payload is not None:
        found["payload"] = payload.model_dump()
    return found
