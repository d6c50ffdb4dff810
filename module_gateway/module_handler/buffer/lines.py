"""One outbox entry as one line of JSON, and back without the loss of a byte. Pure.

A status (or error aggregate) that is JSON stands in the line just as it is, so that a reader can
use it and `replay` gets its very bytes; any other stands as base64 under `status_base64`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from module_gateway.module_handler.outbox import Entry
from module_gateway.modules.catalog import MAX_NUMBER
from module_gateway.protocol.identity import Device

BASE64: Final = "_base64"
"""What a key ends with whose bytes are no JSON."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_MAX_TYPE: Final = 2**32 - 1
_MAX_PRIORITY: Final = 2**31 - 1
_SPACE: Final = " \t\r\n"
_DECODER: Final = json.JSONDecoder()


class LineError(ValueError):
    """A line is no entry; the text says what is wrong with it."""


def line_of(entry: Entry) -> str:
    """The entry as a line, without its end."""
    identity = entry.device.identity
    members = [
        f'"sequence": {entry.sequence}',
        f'"module": {identity.module}',
        f'"type": {identity.device_type}',
        f'"role": {_text(identity.role)}',
        f'"name": {_text(entry.device.name)}',
        f'"priority": {entry.device.priority}',
        f'"time": "{iso_time(entry.time_unix_ms)}"',
    ]
    if entry.ends_registration:
        members.append('"ends_registration": true')
    if entry.is_repeat:
        members.append('"repeat": true')
    if entry.error is not None:
        members.append(f'"first_sequence": {entry.first_sequence}')
        members.append(_member("error", entry.error))
    members.append(_member("status", entry.status))
    return "{" + ", ".join(members) + "}"


def entry_of(line: str) -> Entry:
    """The entry that a line describes.

    Raises:
        LineError: it describes none.
    """
    texts = _members(line)
    try:
        fields = {key: json.loads(text) for key, text in texts.items()}
    except (ValueError, RecursionError) as error:  # pragma: no cover - `_members` has read them
        raise LineError(str(error)) from error
    error_bytes = _bytes(texts, fields, "error")
    status = _bytes(texts, fields, "status")
    if status is None:
        raise LineError("status is missing")
    device = Device.of(
        _number(fields, "module", 1, MAX_NUMBER),
        _number(fields, "type", 0, _MAX_TYPE),
        _string(fields, "role"),
        _string(fields, "name"),
        _number(fields, "priority", -_MAX_PRIORITY, _MAX_PRIORITY, 0),
    )
    return Entry(
        _number(fields, "sequence", 0, 2**63 - 1, 0),
        device,
        status,
        _flag(fields, "ends_registration"),
        _flag(fields, "repeat"),
        error_bytes,
        _time(fields),
        _number(fields, "first_sequence", 0, 2**63 - 1, 0),
    )


def iso_time(unix_ms: int) -> str:
    """UTC with milliseconds, as RFC 3339 has it. A time that no calendar has is the nearest."""
    try:
        moment = _EPOCH + timedelta(milliseconds=unix_ms)
    except OverflowError:
        moment = _LAST if unix_ms > 0 else _FIRST
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _text(text: str) -> str:
    """A device's text, which may hold anything: only ASCII leaves, so no terminal is steered."""
    return json.dumps(text)


def _member(key: str, content: bytes) -> str:
    text = json_text(content)
    if text is None:
        return f'"{key}{BASE64}": "{base64.b64encode(content).decode()}"'
    return f'"{key}": {text}'


def json_text(content: bytes) -> str | None:
    """The bytes as JSON text that fits into a line, None when they are none."""
    try:
        text = content.decode()
        json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    is_one_line = text.isprintable() and text == text.strip(_SPACE)
    return text if is_one_line else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _members(line: str) -> dict[str, str]:
    """The members of an object as they stand there.

    Raises:
        LineError: it is no JSON object.
    """
    at = _skip(line, 0)
    if line[at : at + 1] != "{":
        raise LineError("it is no JSON object")
    members: dict[str, str] = {}
    try:
        at = _skip(line, at + 1)
        while line[at] != "}":
            key, at = _DECODER.raw_decode(line, at)
            at = _skip(line, at)
            if not isinstance(key, str) or line[at] != ":":
                raise LineError("it is no JSON object")  # noqa: TRY301 - one way out of many
            start = _skip(line, at + 1)
            _, at = _DECODER.raw_decode(line, start)
            members[key] = line[start:at]
            at = _skip(line, at)
            if line[at] == ",":
                at = _skip(line, at + 1)
        if line[at + 1 :].strip(_SPACE):
            raise LineError("something follows the JSON object")  # noqa: TRY301 - as above
    except LineError:
        raise
    except (ValueError, IndexError, RecursionError) as error:
        raise LineError("it is no JSON object") from error
    return members


def _skip(line: str, at: int) -> int:
    while line[at : at + 1] and line[at] in _SPACE:
        at += 1
    return at


def _bytes(texts: Mapping[str, str], fields: Mapping[str, Any], key: str) -> bytes | None:
    if key in texts:
        return texts[key].encode("utf-8", "surrogatepass")
    if key + BASE64 not in fields:
        return None
    try:
        return base64.b64decode(str(fields[key + BASE64]), validate=True)
    except binascii.Error as error:
        raise LineError(f"{key}{BASE64} is no base64") from error


def _number(
    fields: Mapping[str, Any], key: str, low: int, high: int, default: int | None = None
) -> int:
    found = fields.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
        raise LineError(f"{key} is {'missing' if found is None else 'no number that fits'}")
    return found


def _string(fields: Mapping[str, Any], key: str) -> str:
    found = fields.get(key, "")
    try:
        if isinstance(found, str) and found.encode() is not None:
            return found
    except UnicodeEncodeError:
        pass
    raise LineError(f"{key} is no text")


def _flag(fields: Mapping[str, Any], key: str) -> bool:
    found = fields.get(key, False)
    if not isinstance(found, bool):
        raise LineError(f"{key} is neither true nor false")
    return found


def _time(fields: Mapping[str, Any]) -> int:
    try:
        moment = datetime.fromisoformat(str(fields.get("time")))
    except ValueError as error:
        raise LineError("time is none such as 2026-11-20T17:00:00.000Z") from error
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (zoned - _EPOCH) // timedelta(milliseconds=1)
