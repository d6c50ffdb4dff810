"""What must never be shown: found by the name of its field, or because it is a known secret.

Pure. Names decide in what has names (configurations, JSON payloads); known values are taken out of
whatever else is written, wherever they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

HIDDEN: Final = "(hidden)"

SECRET_NAME: Final = re.compile(
    r"pass(word|phrase|wd)?$|password|secret|token|credential|api[-_]?key|private[-_]?key"
    r"|authorization|^psk$",
    re.IGNORECASE,
)
"""Names of fields whose text is nobody's business."""

_SECRET_TEXT: Final = re.compile(r"PRIVATE KEY-----")
_USER_INFO: Final = re.compile(r"(?<=://)[^/\s@]+@")

MIN_CHARS: Final = 4
"""A shorter known value is no secret, and taking it out would tear up every text."""


def is_secret(name: str, value: object) -> bool:
    """Whether the value of a field of this name must not be shown."""
    if isinstance(value, str):
        return bool(value) and bool(SECRET_NAME.search(name) or _SECRET_TEXT.search(value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(SECRET_NAME.search(name))


def without_secrets(value: Any, name: str = "") -> Any:  # noqa: ANN401 - any JSON value
    """The same JSON value with secrets hidden, and without users and passwords in addresses."""
    match value:
        case dict():
            return {key: without_secrets(inner, str(key)) for key, inner in value.items()}
        case list() | tuple():
            return [without_secrets(inner, name) for inner in value]
        case _ if is_secret(name, value):
            return HIDDEN
        case str():
            return _USER_INFO.sub(f"{HIDDEN}@", value)
        case _:
            return value


def secret_values(value: Any, name: str = "") -> set[str]:  # noqa: ANN401 - any JSON value
    """Every text in this JSON value that `without_secrets` would hide."""
    match value:
        case dict():
            inner = (secret_values(each, str(key)) for key, each in value.items())
            return set().union(*inner)
        case list() | tuple():
            return set().union(*(secret_values(each, name) for each in value))
        case _ if is_secret(name, value):
            return {str(value)}
        case str():
            return {part for each in _USER_INFO.findall(value) for part in _parts(each)}
        case _:
            return set()


def _parts(user_info: str) -> tuple[str, ...]:
    user, _, password = user_info.removesuffix("@").partition(":")
    return (password,) if password else (user,)


class Scrubber:
    """Takes known secrets out of any text."""

    def __init__(self, values: Iterable[str]) -> None:
        """`values` of several lines count line by line: a key is also one when it is wrapped."""
        lines = {line.strip() for value in values for line in value.splitlines()}
        # Those of all PEM files, "-----BEGIN PRIVATE KEY-----" and the like, tell nobody anything.
        known = {each for each in lines if len(each) >= MIN_CHARS and not each.startswith("-----")}
        # The longest first: one secret may be a part of another.
        ordered = sorted(known, key=lambda each: (-len(each), each))
        written = dict.fromkeys(form for each in ordered for form in _written(each))
        self._pattern = re.compile("|".join(map(re.escape, written))) if written else None

    def scrub(self, text: str) -> str:
        """The text with every known secret, and every private key, taken out."""
        clean = _PRIVATE_KEY.sub(HIDDEN, text)
        clean = _USER_INFO.sub(f"{HIDDEN}@", clean)
        return clean if self._pattern is None else self._pattern.sub(HIDDEN, clean)


_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)


def _written(text: str) -> tuple[str, ...]:
    """As it stands in plain text, inside of a JSON string in both spellings, and in an address."""
    plain, escaped = json.dumps(text, ensure_ascii=False), json.dumps(text)
    return (text, plain[1:-1], escaped[1:-1], quote(text, safe=""))
