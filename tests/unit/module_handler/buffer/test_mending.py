"""`repair` keeps what is intact, sets aside what is not, and leaves a running handler alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from module_gateway.module_handler.buffer.inspection import inspect
from module_gateway.module_handler.buffer.mending import HandlerRunsError, mend
from module_gateway.module_handler.buffer.salvaged import open_salvaged
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.buffer.view import open_view
from module_gateway.module_handler.records import encode
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.protocol.errors import StoreError
from tests.unit.module_handler.buffer.stores import A, B, appended, committed, entry, store_at

ENTRIES = [entry(number, A if number % 2 else B) for number in range(1, 101)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_at(tmp_path)


def damage(path: Path, number: int) -> None:
    content = bytearray(path.read_bytes())
    content[content.rindex(encode(ENTRIES[number - 1])) + 8] ^= 1
    path.write_bytes(content)


async def test_what_is_intact_goes_on_and_the_rest_is_set_aside(path: Path) -> None:
    store_id = await committed(path, *appended(ENTRIES))
    damage(path, 40)
    found = mend(path, None)
    assert (True, 1) == (found["repaired"], len(found["findings"]))
    assert 99 == found["kept"]["entries"]
    assert "wrong CRC" in found["findings"][0]["reason"]
    assert [] == inspect(path, is_running=False).findings
    intact = [each for each in ENTRIES if each.sequence != 40]
    with open_view(path) as view:
        assert (store_id, intact) == (view.store_id, list(view.entries(Selection())))
    with open_salvaged(Path(found["set_aside"])) as view:
        assert intact == list(view.entries(Selection()))


async def test_a_sound_store_stays_as_it_is(path: Path) -> None:
    await committed(path, *appended(ENTRIES))
    before = path.read_bytes()
    assert mend(path, None)["repaired"] is False
    assert before == path.read_bytes()
    assert not (path.parent / "set-aside").exists()


async def test_a_running_handler_keeps_its_files_and_the_way_is_said(path: Path) -> None:
    await committed(path, *appended(ENTRIES))
    store = SqliteStore(path)
    await store.load()
    assert mend(path, 123)["repaired"] is False
    with pytest.raises(StoreError, match="is in use by process"):
        mend(path, None)
    await store.close()
    damage(path, 40)
    with pytest.raises(HandlerRunsError, match="1 findings, and process 123 has the store open"):
        mend(path, 123)
    assert not (path.parent / "set-aside").exists()


def test_without_a_store_there_is_nothing_to_repair(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        mend(path, None)
    assert not path.parent.exists()
