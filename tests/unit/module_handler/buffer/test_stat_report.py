"""What `buffer stat` says, to people and to scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from module_gateway.module_handler.buffer.place import Place
from module_gateway.module_handler.buffer.stat_report import report, text
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.protocol.errors import StoreError
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.settings import ModuleHandlerSettings
from tests.unit.module_handler.buffer.stores import (
    NOW,
    OTHER,
    A,
    B,
    appended,
    committed,
    entry,
    store_at,
)


def place_in(state_dir: Path, **own: object) -> Place:
    changes = {
        "module_paths": {"7": "example"},
        "module_handler_settings": ModuleHandlerSettings.model_validate(own),
    }
    return Place(default_settings().model_copy(update=changes), state_dir, store_at(state_dir))


def test_before_the_first_start_there_is_nothing_and_no_error(tmp_path: Path) -> None:
    found = report(place_in(tmp_path), NOW, has_devices=True)
    assert (False, 0, None, [], []) == tuple(
        found[key] for key in ("exists", "entries", "handler_pid", "modules", "devices")
    )
    said = text(found)
    assert "there is none yet" in said
    assert "not growing: nothing waits" in said
    assert not tmp_path.joinpath("store").exists()


async def test_everything_is_said_in_json(tmp_path: Path) -> None:
    place = place_in(tmp_path, outbox_entries=10)
    entries = [entry(1, A, 100), entry(2, OTHER, 100), entry(3, A, 50)]
    await committed(place.store, *appended(entries))
    folder = place.store.parent / "set-aside" / "20261120T170000Z-crc"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(
        '{"reason": "damaged", "findings": [{}, {}], "more_findings": 3, "kept": {"entries": 9}}'
    )
    found = json.loads(json.dumps(report(place, NOW, has_devices=True)))
    size_bytes = entries[0].size_bytes
    assert (3, 2, 3 * size_bytes, 100.0, "power") == tuple(
        found[key] for key in ("entries", "devices_waiting", "bytes", "oldest_age_s", "durability")
    )
    assert [(7, "example", True, 2), (8, None, False, 1)] == [
        (each["module"], each["name"], each["is_configured"], each["entries"])
        for each in found["modules"]
    ]
    assert ["7/0/a", "8/1/other"] == [each["device"] for each in found["devices"]]
    assert pytest.approx(8 / 0.02 / 3600) == found["growth"]["hours_left"]
    assert (10, "7/0/a", 0.2) == tuple(
        found["bounds"][key] for key in ("device_entries", "fullest_device", "device_full")
    )
    assert place.store.stat().st_size == found["files"]["handler.db"]
    (aside,) = found["set_aside"]
    assert (str(folder), "damaged", 5, {"entries": 9}) == tuple(
        aside[key] for key in ("folder", "reason", "findings", "kept")
    )
    assert aside["bytes"] == (folder / "report.json").stat().st_size
    assert f"{folder.name}, {aside['bytes']} B: damaged, 5 findings" in text(found)


async def test_people_read_lines(tmp_path: Path) -> None:
    place = place_in(tmp_path, outbox_entries=10, durability="memory")
    await committed(place.store, *appended([entry(1, A, 100), entry(2, B, 7_300)]))
    await committed(place.store, *appended([entry(3, OTHER, 50)]))
    folder = place.store.parent / "set-aside" / "20261120T170000Z-crc"
    folder.mkdir(parents=True)
    store = SqliteStore(place.store)
    await store.load()
    lines = text(report(place, NOW, has_devices=True)).splitlines()
    await store.close()
    assert "open in process " in lines[0]
    assert lines[1].strip().startswith("with durability memory")
    assert lines[2] == "waiting   3 entries of 3 devices, 792 B, the oldest for 2 h 1 min"
    assert lines[3].startswith("growth    0.0 entries/s, 2 B/s; ")
    assert "10.0% of its 10 entries or 64.0 MiB; entries older than 7 d are folded" in lines[4]
    assert lines[6:8] == ["set aside 1 folders", "          20261120T170000Z-crc, 0 B: no report"]
    assert lines[9:12] == [
        "module              devices  entries   size     oldest",
        "7 example                 2        2  528 B  2 h 1 min",
        "8 (not configured)        1        1  264 B       50 s",
    ]
    assert lines[13].split() == ["device", "entries", "size", "oldest"]
    assert len(lines) == 17


async def test_a_text_of_a_device_cannot_steer_the_terminal(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    evil = A.of(7, 0, "\x1b[2J")
    await committed(place.store, *appended([entry(1, evil)]))
    assert "\x1b" not in text(report(place, NOW, has_devices=True))


def test_a_store_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    place.store.parent.mkdir()
    place.store.write_bytes(b"x" * 5_000)
    with pytest.raises(StoreError):
        report(place, NOW, has_devices=False)
