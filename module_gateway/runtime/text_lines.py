"""Log lines as people read them, and what a line of a process that died had to say.

`15:04:05.123 info  device_connected device=1/1/autonomy peer=127.0.0.1:50412`: the time of day of
this machine, the level in five columns, the event, its fields. A file that is kept has the full
time in UTC and, because processes share it, the component.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

LEVEL_WORDS: Final = {"warning": "warn", "critical": "fatal"}
LEVEL_COLOURS: Final = {"debug": 90, "warning": 33, "error": 31, "critical": 31}  # ANSI
_FIRST_FIELDS: Final = ("time", "level", "component", "event", "exception")
_BARE: Final = re.compile(r"[^\s\"'=]+")
_BOLD: Final = 1
_SHOWN_LINES: Final = 20
_TEXT_LINE: Final = re.compile(r"\S+ (?:error|fatal) +(\S.*)")
_CAUSE: Final = re.compile(r" (?:reason|error)=(?:'((?:\\'|[^'])*)'|\"([^\"]*)\"|(\S+))")


def for_terminal(fields: Mapping[str, Any], *, is_coloured: bool) -> str:
    """One event as a short line of one process; its traceback, if any, follows."""
    time = datetime.fromisoformat(fields["time"]).astimezone()
    level = str(fields.get("level", "info"))
    clock = f"{time:%H:%M:%S}.{time.microsecond // 1000:03d}"
    word, event = f"{LEVEL_WORDS.get(level, level):<5}", str(fields["event"])
    if is_coloured:
        word = _coloured(word, LEVEL_COLOURS.get(level, 32))
        event = _coloured(event, _BOLD)
    return _with_rest(f"{clock} {word} {event}", fields)


def for_file(fields: Mapping[str, Any], component: str) -> str:
    """One event as a line of a file that several processes write and somebody reads later."""
    level = str(fields.get("level", "info"))
    word = f"{LEVEL_WORDS.get(level, level):<5}"
    return _with_rest(f"{fields['time']} {word} {component} {fields['event']}", fields)


def _with_rest(head: str, fields: Mapping[str, Any]) -> str:
    words = [head]
    words += [
        f"{key}={text_value(value)}"
        for key, value in fields.items()
        if key not in _FIRST_FIELDS and value is not None and value != {}
    ]
    line = " ".join(words)
    return f"{line}\n{fields['exception']}" if fields.get("exception") else line


def text_value(value: object) -> str:
    """A field's value: bare where that is clear, else quoted.

    Lists of words are joined by commas; of an object only the keys are shown, JSON lines have all.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return str(value) if _BARE.fullmatch(value) else _quoted(value)
        case list() | tuple() if all(isinstance(item, str) for item in value):
            return text_value(",".join(value))
        case dict():
            return text_value(",".join(map(str, value)))
        case list() | tuple():
            return json.dumps(value, default=str, separators=(",", ":"))
        case _:
            return text_value(str(value))


def _quoted(text: str) -> str:
    mark = '"' if "'" in text and '"' not in text else "'"
    return mark + text.replace(mark, f"\\{mark}") + mark


def _coloured(text: str, colour: int) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


class LastWords:
    """What a process wrote last, so that whoever reaps it can say why it ended."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_SHOWN_LINES)

    def heard(self, line: str) -> None:
        """One more line of its output."""
        if line.strip():
            self._lines.append(line)

    def error(self) -> str:
        """The reason in its last line about an error, "" without one."""
        return next(filter(None, map(_cause_in, reversed(self._lines))), "")

    def last_line(self) -> str:
        """Whatever it wrote last, "" for nothing."""
        return self._lines[-1].strip() if self._lines else ""

    def cause(self) -> str:
        """The best that is known about why it ended, "" for nothing."""
        return self.error() or self.last_line()


def _cause_in(line: str) -> str:
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except ValueError:
            return ""
        if not isinstance(fields, dict) or fields.get("level") not in {"error", "critical"}:
            return ""
        return str(fields.get("reason") or fields.get("error") or fields.get("event") or "")
    found = _TEXT_LINE.fullmatch(line)
    if found is None:
        return ""
    reason = _CAUSE.search(line)
    return next(filter(None, reason.groups()), found[1]) if reason is not None else found[1]
