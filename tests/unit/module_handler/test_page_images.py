"""Which image of a page counts: of the database, of the log, of neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from module_gateway.module_handler.page_images import (
    FRAME_BYTES,
    LOG_HEADER_BYTES,
    PAGE_BYTES,
    PageImages,
    Part,
)
from module_gateway.module_handler.store_files import companions
from module_gateway.module_handler.store_schema import write_back
from tests.unit.module_handler.store_rig import Parts, entry


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A store with five commits in its log and a database that has none of them."""
    parts = Parts(tmp_path)
    write_back(parts.connection)
    for first in range(1, 101, 20):
        parts.append(*(entry(each) for each in range(first, first + 20)))
    yield parts
    parts.writer.close()


def files(parts: Parts) -> tuple[bytes, bytes, bytes]:
    database, log, index = (each.read_bytes() for each in companions(parts.path))
    return database, log, index


def newest(images: PageImages) -> bytes:
    """All pages together."""
    found = (images.newest(page) for page in range(1, images.pages + 1))
    return b"".join(bytes(each.content) if each else bytes(PAGE_BYTES) for each in found)


def reasons(images: PageImages) -> list[str]:
    return [each.reason for each in images.findings]


def test_the_newest_images_are_what_sqlite_would_write_back(parts: Parts) -> None:
    images = PageImages(*files(parts))
    write_back(parts.connection)
    assert ([], files(parts)[0]) == (images.findings, newest(images))


def test_a_log_of_older_frames_is_told_from_a_new_one(parts: Parts) -> None:
    """The log begins anew in front of frames that count no more."""
    for first in range(101, 200, 20):
        write_back(parts.connection)
        parts.append(*(entry(each) for each in range(first, first + 20)))
        images = PageImages(*files(parts))
        assert [] == images.findings
    write_back(parts.connection)
    assert files(parts)[0] == newest(images)


@pytest.mark.parametrize("has_index", [True, False])
def test_a_torn_tail_is_normal_unless_the_index_knows_better(parts: Parts, has_index: bool) -> None:
    database, log, index = files(parts)
    used = (PageImages(database, log, index)._indexed or pytest.fail("no index")).frames
    log = log[: LOG_HEADER_BYTES + used * FRAME_BYTES]
    for length in range(len(log) - 1, LOG_HEADER_BYTES, -1_500):
        images = PageImages(database, log[:length], index if has_index else b"")
        missing = used - (length - LOG_HEADER_BYTES) // FRAME_BYTES
        if has_index:
            words = f"{missing} of {used} frames of the write-ahead log are missing"
            assert words in reasons(images)
        else:
            assert [] == images.findings


def test_a_damaged_frame_is_doubted_and_what_was_before_it_comes_first(parts: Parts) -> None:
    database, log, index = files(parts)
    damaged = bytearray(log)
    at = log.index(b"s100")
    damaged[at] ^= 1
    images = PageImages(database, bytes(damaged), index)
    number = (at - LOG_HEADER_BYTES) // FRAME_BYTES
    (finding,) = images.findings
    assert (Part.LOG, f"frame {number} of the write-ahead log has a wrong sum") == (
        finding.part,
        finding.reason,
    )
    of_page = [each for each in images.images() if each.page == finding.page]
    assert [False, False] == [each.is_certain for each in of_page]
    assert of_page[-1].offset == finding.offset + 24


def test_frames_behind_a_damaged_one_still_count(parts: Parts) -> None:
    database, log, index = files(parts)
    damaged = bytearray(log)
    damaged[LOG_HEADER_BYTES + 24 + 100] ^= 1
    images = PageImages(database, bytes(damaged), index)
    assert ["frame 0 of the write-ahead log has a wrong sum"] == reasons(images)
    write_back(parts.connection)
    later = [each for each in images.images() if each.is_certain]
    sound = files(parts)[0]
    assert len(later) >= images.pages - 1
    assert all(
        sound[(each.page - 1) * PAGE_BYTES : each.page * PAGE_BYTES] == bytes(each.content)
        for each in later
    )


@pytest.mark.parametrize("at", range(LOG_HEADER_BYTES))
def test_a_damaged_header_of_the_log_hides_nothing(parts: Parts, at: int) -> None:
    database, log, index = files(parts)
    damaged = bytearray(log)
    damaged[at] ^= 0x10
    images = PageImages(database, bytes(damaged), index)
    assert any("write-ahead log" in reason for reason in reasons(images))
    assert any(b"s100" in bytes(each.content) for each in images.images())


def test_a_deleted_log_is_missed_only_while_it_was_needed(parts: Parts) -> None:
    database, _, index = files(parts)
    assert any("are missing" in reason for reason in reasons(PageImages(database, b"", index)))
    write_back(parts.connection)
    database, _, index = files(parts)
    assert [] == PageImages(database, b"", index).findings


def test_missing_pages_at_the_end_are_said(parts: Parts) -> None:
    write_back(parts.connection)
    database = files(parts)[0]
    images = PageImages(database[: -2 * PAGE_BYTES - 7], b"")
    pages = len(database) // PAGE_BYTES
    assert [f"pages {pages - 2} to {pages} (3) are missing at the end"] == reasons(images)
    assert images.newest(pages) is None


def test_what_lies_behind_the_end_is_no_finding(parts: Parts) -> None:
    write_back(parts.connection)
    database = files(parts)[0]
    images = PageImages(database + b"\x0d" * 5_000, b"")
    assert [] == images.findings
    assert [False] == [each.is_certain for each in images.images() if each.page > images.pages]
