"""What an export holds goes back as it was, or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from module_gateway.module_handler.buffer import replay
from module_gateway.module_handler.buffer.lines import line_of
from module_gateway.module_handler.buffer.replay import UnusableError
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.outbox import Entry
from module_gateway.protocol import bus_pb2
from tests.unit.module_handler.buffer.stores import NOW, OTHER, A, B, entry


class Asked:
    """An owner that does everything and remembers it."""

    def __init__(self) -> None:
        self.requests: list[bus_pb2.BufferRequest] = []

    async def ask(self, request: bus_pb2.BufferRequest) -> None:
        self.requests.append(request)


def source(*entries: Entry) -> replay.Source:
    def all_of_them() -> Iterable[Entry]:
        return iter(entries)

    return all_of_them


def test_the_lines_of_a_file_are_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(f"{line_of(entry(1))}\n\n{line_of(entry(2, B))}")
    assert [entry(1), entry(2, B)] == list(replay.lines_of(path))


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(f"{line_of(entry(1))}\n\xff{{}}\n".encode("latin-1"))
    with pytest.raises(UnusableError, match=r"out\.jsonl line 2: it is no JSON object"):
        list(replay.lines_of(path))


def test_only_what_is_selected_goes_back() -> None:
    entries = source(entry(1, A, 30), entry(2, B, 20), entry(3, OTHER, 10))
    chosen = Selection(frozenset({7}), since_unix_ms=NOW - 20_000)
    again = replay.selected(entries, chosen)
    assert [[2], [2]] == [[each.sequence for each in again()] for _ in range(2)]


def test_everything_is_checked_before_the_first_goes_back() -> None:
    with pytest.raises(UnusableError, match="entry 2 is of module 8, which is not configured"):
        replay.check(source(entry(1), entry(2, OTHER)), {7})
    fold = Entry(3, A, b"s", error=b"")
    with pytest.raises(UnusableError, match="entry 3 of 7/0/a stands for older ones"):
        replay.check(source(entry(1), fold), {7})
    assert 2 == replay.check(source(entry(1, B), fold), {7}).entries


async def test_all_go_back_in_order_and_what_is_open_is_ended() -> None:
    left = entry(4, B)._replace(ends_registration=True)
    fold = Entry(2, A, b"fold", error=b"e", first_sequence=1, time_unix_ms=5)
    entries = source(entry(1, B), fold, left)
    checked = replay.check(entries, {7})
    owner, heard = Asked(), list[int]()
    await replay.carry_out(owner, entries, checked, "file", heard.append)
    first, second = owner.requests
    assert [b'{"n": 1}', b"fold", b'{"n": 4}'] == [each.status for each in first.returned]
    assert [False, False, True] == [each.ends_registration for each in first.returned]
    assert [False, True, False] == [each.HasField("error") for each in first.returned]
    (end,) = second.returned
    assert (True, True, True, False, b"fold", 5) == (
        end.ends_registration,
        end.is_repeat,
        end.unless_registered,
        end.HasField("error"),
        end.status,
        end.time_unix_ms,
    )
    assert [3] == heard
    assert ["file", "file: ends"] == [each.what for each in owner.requests]
