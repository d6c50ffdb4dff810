"""The pages of a SQLite file as its database and its write-ahead log hold them.

Pure: bytes in, page images and findings out; nothing of SQLite is used, so nothing refuses. The
format is described in SQLite's documents "Database File Format" and "WAL-mode File Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final, TypeAlias

PAGE_BYTES: Final = 4096
"""`store_schema.PAGE_SIZE`: known, so that no damaged header can lie about it."""

LOG_HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24
FRAME_BYTES: Final = FRAME_HEADER_BYTES + PAGE_BYTES

MAX_PAGE: Final = 2**30
"""Beyond 4 TiB no page number is believed."""

_BIG_ENDIAN: Final = 0x377F0683
_LITTLE_ENDIAN: Final = 0x377F0682
_LOG_FORMAT: Final = 3_007_000
_MASK: Final = 0xFFFFFFFF
_INDEX: Final = struct.Struct("=IIIBBHII2I2I2I")
"""The header of the log's index (`-shm`), in the machine's byte order: format, unused, changes,
is initialised, byte order, page size, last frame, pages, sum, salts, sum of the header."""
_WRITTEN_BACK_AT: Final = 96
"""Offset of the number of frames that are in the database already."""

Bytes: TypeAlias = bytes | memoryview


@unique
class Part(StrEnum):
    """Where something was found."""

    DATABASE = "database"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        part: the file.
        offset: in it.
        page: of the database, 0 when it concerns none or all.
        reason: in words, with what may be lost.
    """

    part: Part
    offset: int
    page: int
    reason: str


@dataclass(frozen=True, slots=True)
class Image:
    """One version of a page.

    Attributes:
        is_certain: it is what a reader of the store has to see; otherwise it is older, or its
            sum is wrong, or the page is said to be free.
    """

    page: int
    part: Part
    offset: int
    content: Bytes
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class _Frame:
    number: int
    page: int
    pages_after: int
    """Pages of the database after the commit that ends here; 0 within one."""
    is_sound: bool

    @property
    def offset(self) -> int:
        return LOG_HEADER_BYTES + self.number * FRAME_BYTES


class PageImages:
    """Which images there are of every page.

    Attributes:
        findings: about the log and the length of the database.
        pages: how many the database has.
    """

    def __init__(self, database: Bytes, log: Bytes, index: Bytes = b"") -> None:
        """Look through the log; `index` is its `-shm` file, b"" when there is none."""
        self.findings: list[Finding] = []
        self._database, self._log = memoryview(database), memoryview(log)
        self._indexed = _read_index(index)
        self._salts = b""
        frames = self._frames()
        frames = self._compared_with_index(frames)
        self._by_page: dict[int, list[_Frame]] = {}
        self._nowhere: list[_Frame] = []
        for frame in frames:
            if 0 < frame.page < MAX_PAGE:
                self._by_page.setdefault(frame.page, []).append(frame)
            else:
                self._nowhere.append(frame)
        commits = [frame.pages_after for frame in frames if frame.pages_after]
        present = len(self._database) // PAGE_BYTES
        self.pages = commits[-1] if commits and commits[-1] < MAX_PAGE else self._said_pages()
        self._find_missing(present)

    def close(self) -> None:
        """Let go of the files' content; images may not be used any more."""
        self._database.release()
        self._log.release()

    def beginning(self) -> bytes:
        """The first bytes of the database, which may be shorter than a page."""
        return bytes(self._database[:72])

    def newest(self, page: int) -> Image | None:
        """What a reader has to see, None when no file has it."""
        frames = self._by_page.get(page)
        if frames:
            return self._image(frames[-1], is_certain=True)
        return self._stored(page, is_certain=True)

    def images(self) -> Iterator[Image]:
        """Of all pages; those that are not certain come before those that are."""
        numbers = self._numbers()
        for frame in self._nowhere:
            yield self._image(frame, is_certain=False)
        for page in numbers:
            yield from self._older(page)
        for page in numbers:
            image = self.newest(page)
            if image is None:
                continue
            is_certain = page <= self.pages and not self._is_doubted(page)
            yield (
                image
                if is_certain
                else Image(page, image.part, image.offset, image.content, is_certain=False)
            )

    def _numbers(self) -> list[int]:
        present = len(self._database) // PAGE_BYTES
        return sorted({*range(1, present + 1), *self._by_page})

    def _is_doubted(self, page: int) -> bool:
        frames = self._by_page.get(page)
        return frames is not None and not frames[-1].is_sound

    def _older(self, page: int) -> Iterator[Image]:
        """When the newest frame is unsound: what was before it, and itself counts as newest."""
        frames = self._by_page.get(page, [])
        if not self._is_doubted(page):
            return
        sound = [at for at, frame in enumerate(frames) if frame.is_sound]
        first = sound[-1] if sound else 0
        if not sound:
            stored = self._stored(page, is_certain=False)
            if stored is not None:
                yield stored
        for frame in frames[first:-1]:
            yield self._image(frame, is_certain=False)

    def _image(self, frame: _Frame, *, is_certain: bool) -> Image:
        at = frame.offset + FRAME_HEADER_BYTES
        content = self._log[at : at + PAGE_BYTES]
        return Image(frame.page, Part.LOG, at, content, is_certain and frame.is_sound)

    def _stored(self, page: int, *, is_certain: bool) -> Image | None:
        at = (page - 1) * PAGE_BYTES
        content = self._database[at : at + PAGE_BYTES]
        if len(content) < PAGE_BYTES:
            return None
        return Image(page, Part.DATABASE, at, content, is_certain)

    def _said_pages(self) -> int:
        """The number of pages in the header of the database."""
        return int.from_bytes(self._database[28:32], "big")

    def _find_missing(self, present: int) -> None:
        missing = [
            page
            for page in range(present + 1, min(self.pages, present + 1_000_000) + 1)
            if page not in self._by_page
        ]
        if missing:
            reason = f"pages {missing[0]} to {missing[-1]} ({len(missing)}) are missing at the end"
            self._find(Part.DATABASE, len(self._database), missing[0], reason)
        if not present:
            self._find(Part.DATABASE, 0, 0, "the database is empty")

    def _find(self, part: Part, offset: int, page: int, reason: str) -> None:
        self.findings.append(Finding(part, offset, page, reason))

    def _frames(self) -> list[_Frame]:
        """The frames of this log's generation up to its last commit."""
        log = self._log
        if len(log) < LOG_HEADER_BYTES:
            return []
        magic, version, page_bytes, _, *salts, first, second = struct.unpack_from(">8I", log)
        is_header_sound = (
            magic in {_BIG_ENDIAN, _LITTLE_ENDIAN}
            and (version, page_bytes) == (_LOG_FORMAT, PAGE_BYTES)
            and _sum(log[:24], 0, 0, is_big=magic == _BIG_ENDIAN) == (first, second)
        )
        is_big = magic == _BIG_ENDIAN
        if not is_header_sound:
            if len(log) < LOG_HEADER_BYTES + FRAME_BYTES:
                return []
            self._find(Part.LOG, 0, 0, "the header of the write-ahead log is damaged")
            salts = list(struct.unpack(">2I", self._likely_salts()))
            is_big = False
        self._salts = struct.pack(">2I", *salts)
        return self._committed(self._read_frames((first, second), tuple(salts), is_big=is_big))

    def _likely_salts(self) -> bytes:
        """Without a header: what the index says, else what the first sound frame has."""
        if self._indexed is not None:
            return self._indexed.salts
        log = self._log
        for at in range(LOG_HEADER_BYTES, len(log) - 2 * FRAME_BYTES + 1, FRAME_BYTES):
            before = struct.unpack_from(">2I", log, at + 16)
            following = at + FRAME_BYTES
            first_sum = _sum(log[following : following + 8], *before, is_big=False)
            content = log[following + FRAME_HEADER_BYTES : following + FRAME_BYTES]
            if _sum(content, *first_sum, is_big=False) == struct.unpack_from(
                ">2I", log, following + 16
            ):
                return bytes(log[following + 8 : following + 16])
        return bytes(log[LOG_HEADER_BYTES + 8 : LOG_HEADER_BYTES + 16])

    def _read_frames(
        self, before: tuple[int, int], salts: tuple[int, ...], *, is_big: bool
    ) -> list[_Frame]:
        frames: list[_Frame] = []
        for number in range((len(self._log) - LOG_HEADER_BYTES) // FRAME_BYTES):
            at = LOG_HEADER_BYTES + number * FRAME_BYTES
            page, pages_after, *own, first, second = struct.unpack_from(">6I", self._log, at)
            if tuple(own) != salts:
                frames.append(_Frame(number, 0, 0, is_sound=False))
                before = (first, second)
                continue
            first_sum = _sum(self._log[at : at + 8], *before, is_big=is_big)
            content = self._log[at + FRAME_HEADER_BYTES : at + FRAME_BYTES]
            is_sound = _sum(content, *first_sum, is_big=is_big) == (first, second)
            frames.append(_Frame(number, page, pages_after, is_sound))
            before = (first, second)
        return frames

    def _committed(self, frames: list[_Frame]) -> list[_Frame]:
        """Without the torn tail; what is unsound in front of the last commit is a finding.

        A frame of an older generation has other salts; its page number is 0 here.
        """
        last = max((f.number for f in frames if f.is_sound and f.pages_after), default=-1)
        if self._indexed is not None and self._indexed.salts == self._salts:
            last = max(last, self._indexed.frames - 1)
        committed = frames[: last + 1]
        for frame in committed:
            if not frame.is_sound:
                reason = f"frame {frame.number} of the write-ahead log has a wrong sum"
                self._find(Part.LOG, frame.offset, frame.page, reason)
        return committed

    def _compared_with_index(self, frames: list[_Frame]) -> list[_Frame]:
        """The log's index outlives a killed process: it knows how long the log was.

        Frames that the database has already, together with some that are missing now, are left
        out: what the database has is newer.
        """
        known = self._indexed
        if known is None or len(frames) >= known.frames:
            return frames
        is_same_log = known.salts == self._salts
        if not is_same_log and (frames or known.written_back >= known.frames):
            return frames
        missing = known.frames - len(frames)
        reason = f"{missing} of {known.frames} frames of the write-ahead log are missing"
        self._find(Part.LOG, len(self._log), 0, reason)
        return frames if known.written_back <= len(frames) else []


@dataclass(frozen=True, slots=True)
class _Indexed:
    """What the index says of the log: frames that were committed, and those written back."""

    frames: int
    written_back: int
    salts: bytes


def _read_index(index: Bytes) -> _Indexed | None:
    """None when there is no index, or when it was not finished."""
    if len(index) < _WRITTEN_BACK_AT + 4 or bytes(index[:48]) != bytes(index[48:96]):
        return None
    fields = _INDEX.unpack_from(index)
    is_initialised, last_frame, sums = fields[3], fields[6], fields[12:14]
    if not is_initialised or _sum_words(struct.unpack_from("=10I", index), 0, 0) != sums:
        return None
    written_back = struct.unpack_from("=I", index, _WRITTEN_BACK_AT)[0]
    return _Indexed(last_frame, written_back, bytes(index[32:40]))


def _sum(content: Bytes, first: int, second: int, *, is_big: bool) -> tuple[int, int]:
    """SQLite's sum over 32-bit words; `is_big`: the byte order that the header names."""
    words = struct.unpack(f"{'>' if is_big else '<'}{len(content) // 4}I", content)
    return _sum_words(words, first, second)


def _sum_words(words: tuple[int, ...], first: int, second: int) -> tuple[int, int]:
    pairs = iter(words)
    for one, other in zip(pairs, pairs, strict=True):
        first = (first + one + second) & _MASK
        second = (second + other + first) & _MASK
    return first, second
