from __future__ import annotations

import os
import platform
import sqlite3
from pathlib import Path

import pytest

from module_gateway.observe.bundle.surroundings import packages, store_facts, system
from tests.unit.module_handler.buffer.stores import appended, committed, entry, store_at


def test_packages_and_system_have_their_versions(tmp_path: Path) -> None:
    assert packages()["module-gateway"]
    found = system(tmp_path, os.environ)
    assert found["sqlite"] == sqlite3.sqlite_version
    assert found["disk"]["free_bytes"] > 0
    assert platform.node() not in {str(value) for value in found.values()}


def test_without_a_broker_or_a_disk_the_rest_is_told(tmp_path: Path) -> None:
    found = system(tmp_path / "none", {"PATH": "/nowhere"})
    assert found["disk"] == {}
    assert found["mosquitto"]


async def test_of_the_store_its_shape_is_told_and_nothing_that_stands_in_it(
    tmp_path: Path,
) -> None:
    store = store_at(tmp_path)
    await committed(store, *appended([entry(1, status=b"geheim"), entry(2)]))
    found = store_facts(store)
    assert found["rows"]["entries"] == 2
    assert found["files"]["handler.db"] > 0
    assert any(each["name"] == "entries" for each in found["schema"])
    assert "geheim" not in str(found)


def test_a_store_that_is_not_there_or_no_store_is_told(tmp_path: Path) -> None:
    assert store_facts(tmp_path / "no.db") == {"exists": False, "files": {}}
    (tmp_path / "bad.db").write_bytes(b"x" * 5000)
    with pytest.raises(sqlite3.Error):
        store_facts(tmp_path / "bad.db")
