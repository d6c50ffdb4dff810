"""Files that nobody can open any more still give what is intact in them, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from module_gateway.module_handler.buffer.salvaged import open_salvaged
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.store import EntriesTrimmed
from module_gateway.protocol.errors import StoreError
from tests.unit.module_handler.buffer.stores import A, B, appended, committed, entry, store_at


@pytest.mark.parametrize("names_folder", [True, False])
async def test_what_waits_is_found_without_a_header(tmp_path: Path, names_folder: bool) -> None:
    path = store_at(tmp_path)
    entries = [entry(number, A if number % 2 else B) for number in range(1, 201)]
    await committed(path, *appended(entries), EntriesTrimmed(A.identity, 50))
    content = bytes(100) + path.read_bytes()[100:]
    path.write_bytes(content)
    with open_salvaged(path.parent if names_folder else path) as view:
        found = list(view.entries(Selection()))
    assert [each for each in entries if each.device == B or each.sequence > 50] == found
    assert content == path.read_bytes()
    assert ["handler.db", "handler.lock"] == sorted(each.name for each in path.parent.iterdir())


def test_an_empty_folder_has_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"), open_salvaged(tmp_path):
        pass
