"""The newest lines of the log file, without the payloads that some of them show."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

from module_gateway.observe.secrets import HIDDEN

MAX_LINES: Final = 5_000
MAX_BYTES: Final = 2 * 1024 * 1024

PAYLOAD_FIELDS: Final = frozenset({"status", "command", "payload", "error_aggregate"})
"""Fields of log lines that show what a device or a control plane said."""

_IN_TEXT: Final = re.compile(
    rf"(?<= )({'|'.join(sorted(PAYLOAD_FIELDS))})=('(?:\\'|[^'])*'|\"[^\"]*\"|\S+)"
)


def log_tail(path: Path, *, has_payloads: bool) -> str:
    """The end of the file at `path`, whole lines.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(0, size_bytes - MAX_BYTES))
        lines = file.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
    if size_bytes > MAX_BYTES:
        lines = lines[1:]  # the first one is cut
    newest = lines[-MAX_LINES:]
    if not has_payloads:
        newest = [without_payloads(line) for line in newest]
    return "".join(f"{line}\n" for line in newest)


def without_payloads(line: str) -> str:
    """The same line; fields that show payloads are hidden."""
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except ValueError:
            return _IN_TEXT.sub(rf"\1={HIDDEN}", line)
        if isinstance(fields, dict):
            clean = {
                name: HIDDEN if name in PAYLOAD_FIELDS else value for name, value in fields.items()
            }
            return json.dumps(clean, ensure_ascii=False)
    return _IN_TEXT.sub(rf"\1={HIDDEN}", line)
