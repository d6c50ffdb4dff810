"""From a path to a store that works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from module_gateway.module_handler import store_files
from module_gateway.module_handler.store import EntriesTrimmed, EntryAppended
from module_gateway.module_handler.store_files import build, companions, set_aside_folders
from module_gateway.module_handler.store_opening import Plan, open_writer
from tests.unit.module_handler.store_rig import A, Parts, entry, summary


@pytest.fixture
def path(tmp_path: Path) -> Path:
    parts = Parts(tmp_path)
    parts.append(*(entry(each) for each in range(1, 301)))
    parts.writer.close()
    return parts.path


def opened(path: Path) -> dict[str, object]:
    writer = open_writer(Plan(path, is_synced=False, max_verdicts=4))
    contents = writer.loaded
    logs = {log.identity.role: sum(e.entries for e in log.extents) for log in contents.state.logs}
    writer.commit([EntryAppended(entry(contents.state.last_sequence + 1))])
    writer.close()
    return {"store_id": contents.store_id, **logs}


def repairs() -> float:
    name = "module_gateway_module_handler_store_repairs_total"
    return REGISTRY.get_sample_value(name, {"reason": "damaged"}) or 0.0


def test_a_sound_store_is_opened_as_it_is(path: Path) -> None:
    assert {"store_id": 77, "a": 300} == opened(path)
    assert [] == list(set_aside_folders(path))


def test_a_missing_store_is_made_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "handler.db"
    with monkeypatch.context() as patched:
        patched.setattr(store_files, "_sync_file", fail)
        with pytest.raises(OSError, match="cut off"):
            opened(path)
    assert [] == list(tmp_path.iterdir())
    assert opened(path)["store_id"] != 0


def fail(path: Path) -> None:
    raise OSError(f"cut off at {path}")


def test_a_damaged_store_is_repaired_counted_and_reported(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b"s150")
    content[at] ^= 1
    path.write_bytes(content)
    before = repairs()
    assert {"store_id": 77, "a": 299} == opened(path)
    assert before + 1 == repairs()
    (folder,) = set_aside_folders(path)
    assert bytes(content) == (folder / "handler.db").read_bytes()
    report = json.loads((folder / "report.json").read_text())
    assert ("damaged", 0, 299) == (
        report["reason"],
        report["more_findings"],
        report["kept"]["entries"],
    )
    (finding,) = report["findings"]
    assert ("database", "a record is damaged: wrong CRC", at // 4096 + 1) == (
        finding["part"],
        finding["reason"],
        finding["page"],
    )


def test_damage_that_only_sqlite_sees_is_repaired(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b"CREATE INDEX entries_by_log ON entries")
    content[at + 7 : at + 12] = b"TABLE"
    path.write_bytes(content)
    assert {"store_id": 77, "a": 300} == opened(path)
    (folder,) = set_aside_folders(path)
    assert [] != json.loads((folder / "report.json").read_text())["findings"]


def test_a_repair_that_was_cut_off_is_finished(path: Path) -> None:
    content = path.read_bytes()
    build(path, lambda draft: draft.write_bytes(content) and None)
    path.write_bytes(b"damaged beyond recognition" * 1_000)
    assert {"store_id": 77, "a": 300} == opened(path)
    (folder,) = set_aside_folders(path)
    assert folder.name.endswith("-cut-off")


def test_a_log_without_its_database_still_counts(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.append(*(entry(each) for each in range(1, 301)))
    assert {"a": (300, 300, summary(parts)["a"][2])} == summary(parts)
    log = parts.path.with_name("handler.db-wal").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    (other / "handler.db-wal").write_bytes(log)
    assert {"store_id": 77, "a": 300} == opened(other / "handler.db")
    parts.writer.close()


@pytest.mark.parametrize("is_synced", [True, False])
def test_R4_numbers_that_a_power_cut_may_have_taken_do_not_come_twice(
    is_synced: bool, tmp_path: Path
) -> None:
    parts = Parts(tmp_path)
    parts.append(*(entry(each) for each in range(1, 301)))
    left = tmp_path / "left" / "handler.db"
    left.parent.mkdir()
    for each, copy in zip(companions(parts.path), companions(left), strict=True):
        copy.write_bytes(each.read_bytes())
    parts.writer.close()
    writer = open_writer(Plan(left, is_synced=is_synced, max_verdicts=4))
    last = 300 if is_synced else 1_000_000
    assert [last, last] == [writer.loaded.state.last_sequence, writer.load().state.last_sequence]
    writer.commit([EntriesTrimmed(A.identity, 300)])
    writer.close()
    again = open_writer(Plan(left, is_synced=is_synced, max_verdicts=4))
    assert (last, ()) == (again.loaded.state.last_sequence, again.loaded.state.logs)
    again.commit([EntryAppended(entry(last + 1))])
    again.close()
    again = open_writer(Plan(left, is_synced=is_synced, max_verdicts=4))
    assert last + 1 == again.loaded.state.last_sequence
    again.close()
