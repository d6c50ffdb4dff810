"""`module-gateway buffer export`: what waits, as lines of JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from module_gateway.module_handler.buffer.lines import line_of
from module_gateway.module_handler.buffer.view import Damaged
from module_gateway.module_handler.outbox import Entry

PART_SUFFIX: Final = ".part"
"""An export has its name when it is complete."""


@dataclass(slots=True)
class Exported:
    """What became of an export."""

    written: int = 0
    damaged: int = 0


def write_lines(
    found: Iterable[Entry | Damaged], write: Callable[[str], object], say: Callable[[str], object]
) -> Exported:
    """Write one line per entry; say which entries cannot be read any more."""
    exported = Exported()
    for entry in found:
        if isinstance(entry, Damaged):
            exported.damaged += 1
            say(f"entry {entry.sequence} is damaged: {entry.reason}\n")
        else:
            exported.written += 1
            write(line_of(entry) + "\n")
    return exported


@contextmanager
def target(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Standard output, or a private file that appears when all of it is written.

    Raises:
        OSError: it cannot be written.
    """
    if path is None:
        yield sys.stdout.write
        sys.stdout.flush()
        return
    draft = path.with_name(path.name + PART_SUFFIX)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    draft.replace(path)
