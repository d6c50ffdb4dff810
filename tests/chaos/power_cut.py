"""A power cut without cutting power: takes back what a killed process had not synced.

`unsynced.c` is preloaded into the process and writes down each write to the store's files. After
SIGKILL `cut` leaves of the writes since the last sync of each file a random part: none, some, or
pieces of 512 bytes of one; and so it does with the size. The name of a file counts as durable.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

SOURCE: Final = Path(__file__).with_name("unsynced.c")
SECTOR_BYTES: Final = 512
_RECORD: Final = struct.Struct("=6Q")
_WRITE, _SYNC, _TRUNCATE = 1, 2, 3


def compiler() -> str | None:
    """The C compiler of this machine."""
    return shutil.which("cc") or shutil.which("gcc")


def build(folder: Path) -> Path:
    """Compile the layer; the library to preload."""
    library = folder / "unsynced.so"
    program = compiler()
    assert program is not None, "a C compiler is needed: apt-get install gcc"
    flags = ["-O1", "-Wall", "-Werror", "-shared", "-fPIC"]
    subprocess.run([program, *flags, "-o", library, SOURCE, "-ldl", "-lpthread"], check=True)
    return library


@dataclass
class _Change:
    """One write, or a change of size (`new` is None)."""

    offset: int
    old: bytes
    new: bytes | None
    old_size: int


@dataclass
class _File:
    unsynced: list[_Change] = field(default_factory=list)


def _read(log: bytes) -> dict[int, _File]:
    """By inode: what was changed since the last sync."""
    files: dict[int, _File] = {}
    place = 0
    while place + _RECORD.size <= len(log):
        kind, inode, offset, length, old_size, old_length = _RECORD.unpack_from(log, place)
        place += _RECORD.size
        old = log[place : place + old_length]
        place += old_length
        new = log[place : place + length] if kind == _WRITE else None
        place += length
        known = files.setdefault(inode, _File())
        if kind == _SYNC:
            known.unsynced.clear()
        else:
            known.unsynced.append(_Change(offset, old, new, old_size))
    return files


def cut(folder: Path, rng: Random) -> int:
    """Leave of the files in `folder` what a disk may have kept; returns how many bytes it lost."""
    log = folder / "unsynced.log"
    files = _read(log.read_bytes()) if log.exists() else {}
    dropped = 0
    for path in sorted(folder.iterdir()):
        known = files.get(path.stat().st_ino)
        if known is not None and known.unsynced:
            dropped += _cut_file(path, known.unsynced, rng)
    log.unlink(missing_ok=True)
    return dropped


def _cut_file(path: Path, unsynced: list[_Change], rng: Random) -> int:
    before = path.read_bytes()
    image = bytearray(before)
    for change in reversed(unsynced):
        _undo(image, change)
    synced_size = len(image)
    share = rng.choice((0.0, 0.5, 0.9))
    for change in unsynced:
        if change.new is None:
            if rng.random() < share and change.offset < len(image):
                del image[change.offset :]
            continue
        for start in range(0, len(change.new), SECTOR_BYTES):
            is_kept = rng.random() < share
            if is_kept:
                _put(image, change.offset + start, change.new[start : start + SECTOR_BYTES])
    if rng.random() < 0.5:
        del image[synced_size:]  # the bytes are on the disk, the size that shows them is not
    path.write_bytes(image)
    differing = sum(one != other for one, other in zip(before, image, strict=False))
    return differing + abs(len(before) - len(image))


def _undo(image: bytearray, change: _Change) -> None:
    if change.new is None:
        if len(image) < change.old_size:
            image.extend(bytes(change.old_size - len(image)))
        image[change.offset : change.offset + len(change.old)] = change.old
    else:
        image[change.offset : change.offset + len(change.old)] = change.old
    del image[change.old_size :]


def _put(image: bytearray, offset: int, piece: bytes) -> None:
    if len(image) < offset + len(piece):
        image.extend(bytes(offset + len(piece) - len(image)))
    image[offset : offset + len(piece)] = piece
