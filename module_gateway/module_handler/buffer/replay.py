"""`module-gateway buffer replay`: put the entries of an export back, to be delivered upstream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from module_gateway.module_handler.buffer.lines import LineError, entry_of
from module_gateway.module_handler.buffer.owner import Owner, return_requests
from module_gateway.module_handler.buffer.salvaged import open_salvaged
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.outbox import Entry
from module_gateway.protocol.errors import GatewayError
from module_gateway.protocol.identity import Identity

Source: TypeAlias = Callable[[], Iterable[Entry]]
"""Gives the entries, from the first on, each time that it is called."""


class UnusableError(GatewayError):
    """The entries cannot be put back as they are; the text says which one and why."""


@dataclass(slots=True)
class Checked:
    """What was found in entries that are to be put back.

    Attributes:
        entries: how many.
        open_ends: the newest entry of each device that does not end its registration: a device
            that is not there must be said to have left, or the control plane waits for it.
    """

    entries: int = 0
    open_ends: dict[Identity, Entry] = field(default_factory=dict)


def lines_of(path: Path) -> Iterator[Entry]:
    """The entries of an export.

    Raises:
        UnusableError: a line is none.
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield entry_of(line)
            except LineError as error:
                raise UnusableError(f"{path} line {number}: {error}") from error


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The entries of an export, or of a folder that a repair has set aside.

    Raises:
        StoreError: there is nothing in that folder.
        OSError: it cannot be read.
    """
    if not path.is_dir():
        yield lambda: lines_of(path)
        return
    with open_salvaged(path) as view:
        yield lambda: (each for each in view.entries(Selection()) if isinstance(each, Entry))


def selected(source: Source, selection: Selection) -> Source:
    """Only those of them that a selection means."""

    def entries() -> Iterator[Entry]:
        for entry in source():
            has_device = selection.has_device(entry.device.identity)
            if has_device and selection.has_time(entry.time_unix_ms):
                yield entry

    return entries


def check(source: Source, modules: Collection[int]) -> Checked:
    """Read all of them once, before the first is put back.

    Raises:
        UnusableError: one of them can never be put back.
    """
    found = Checked()
    seen: set[Identity] = set()
    for entry in source():
        identity = entry.device.identity
        if identity.module not in modules:
            raise UnusableError(
                f"entry {entry.sequence} is of module {identity.module}, which is not configured; "
                "choose others with --module"
            )
        if entry.error is not None and identity in seen:
            raise UnusableError(
                f"entry {entry.sequence} of {identity} stands for older ones and is not the first "
                "of its device"
            )
        seen.add(identity)
        found.entries += 1
        if entry.ends_registration:
            found.open_ends.pop(identity, None)
        else:
            found.open_ends[identity] = entry
    return found


async def carry_out(
    owner: Owner, source: Source, checked: Checked, what: str, advanced: Callable[[int], object]
) -> None:
    """Put all of them back, in order; `advanced` hears how many are certainly there.

    Raises:
        RefusedError: what was not said to be there is not.
        BusError, StoreError: nobody knows about the next request's entries.
    """
    done = 0
    for request in return_requests(source(), what):
        await owner.ask(request)
        done += len(request.returned)
        advanced(done)
    ends = (
        entry._replace(ends_registration=True, is_repeat=True, error=None, first_sequence=0)
        for entry in checked.open_ends.values()
    )
    for request in return_requests(ends, f"{what}: ends", unless_registered=True):
        await owner.ask(request)
