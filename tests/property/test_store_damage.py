"""10,000 damaged stores: each starts, what is intact is there, what is missing is reported.

In process and without waiting for the disk; real starts of real processes are elsewhere.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path
from random import Random

import pytest

from module_gateway.module_handler import store_files, store_schema, store_sweep
from module_gateway.module_handler.store_opening import Plan, open_writer
from tests.store_damage import (
    MUTATIONS,
    STORE_ID,
    Damage,
    Key,
    Sample,
    check_found,
    contents_of,
    sample,
)

LOTS = 50
LOT = 200
"""LOTS times LOT are 10,000; a lot takes a few seconds."""

START_S = 2.0
"""Of the processor. Contract: a damaged store of some MB starts in this time; these take 10 ms."""


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(connection: sqlite3.Connection, *, is_synced: bool) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    monkeypatch.setattr(store_schema, "set_synced", never)
    monkeypatch.setattr(store_sweep, "set_synced", never)
    for module in (store_schema, store_files):
        monkeypatch.setattr(module, "sync_folder", lambda _: None)
    monkeypatch.setattr(store_files, "_sync_file", lambda _: None)


@pytest.mark.parametrize("seed", range(30))
def test_an_undamaged_store_has_everything_and_no_findings(seed: int, tmp_path: Path) -> None:
    sound = sample(tmp_path, seed)
    state, store_id, last_sequence, findings = start(
        tmp_path, sound, Damage(sound.files, ()), is_synced=True
    )
    assert (sound.state, STORE_ID, []) == (state, store_id, findings)
    assert sound.last_sequence == last_sequence


@pytest.mark.parametrize("lot", range(LOTS))
def test_D1_whatever_happens_to_the_files_what_is_intact_is_there(lot: int, tmp_path: Path) -> None:
    sound = [sample(tmp_path, 10 * lot + each) for each in range(4)]
    names = list(MUTATIONS)
    for number in range(LOT):
        seed = lot * LOT + number
        random = Random(seed)
        chosen, name = random.choice(sound), names[number % len(names)]
        judge(f"{name}, seed {seed}", tmp_path, chosen, MUTATIONS[name](random, chosen.files))


def judge(case: str, folder: Path, sound: Sample, damage: Damage) -> None:
    began = time.process_time()
    found = start(folder, sound, damage)
    assert time.process_time() - began < START_S, case
    check_found(case, sound, damage, *found)


def start(
    folder: Path, sound: Sample, damage: Damage, *, is_synced: bool = False
) -> tuple[dict[Key, object], int, int, list[str]]:
    """What a handler finds, the store's id and last number, and what the reports say."""
    place = folder / "store"
    place.mkdir()
    path = place / "handler.db"
    sound.write(path, damage.files)
    writer = open_writer(Plan(path, is_synced=is_synced, max_verdicts=50))
    state, store_id = contents_of(writer), writer.loaded.store_id
    last_sequence = writer.loaded.state.last_sequence
    writer.close()
    reports = [json.loads(each.read_text()) for each in place.rglob("report.json")]
    shutil.rmtree(place)
    findings = [each["reason"] for report in reports for each in report["findings"]]
    return state, store_id, last_sequence, findings
