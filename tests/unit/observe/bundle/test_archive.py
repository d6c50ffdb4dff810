from __future__ import annotations

import hashlib
import json
import stat
import tarfile
from pathlib import Path

import pytest

from module_gateway.observe.bundle.archive import MANIFEST, new_archive
from module_gateway.observe.secrets import HIDDEN, Scrubber


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as tar:
        found = {}
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None
            assert member.mode == 0o600
            found[member.name.partition("/")[2]] = file.read().decode()
        return found


def test_what_is_put_in_is_scrubbed_listed_and_private(tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    with new_archive(path, Scrubber(["geheim"])) as archive:
        archive.add("a.txt", "this is geheim", "a text")
        archive.add_json("b.json", {"password": 5, "n": "geheim"}, "a value")
        archive.lacks("c.txt", "geheim is missing")
        archive.close({"made": "now"})
    found = contents(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert found["a.txt"] == f"this is {HIDDEN}"
    assert json.loads(found["b.json"]) == {"password": HIDDEN, "n": HIDDEN}
    manifest = json.loads(found[MANIFEST])
    assert manifest["made"] == "now"
    assert manifest["missing"] == [{"name": "c.txt", "why": f"{HIDDEN} is missing"}]
    for each in manifest["contents"]:
        content = found[each["name"]].encode()
        assert each["bytes"] == len(content)
        assert each["sha256"] == hashlib.sha256(content).hexdigest()
    assert {each["name"] for each in manifest["contents"]} == set(found) - {MANIFEST}


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    path.write_text("mine")
    with pytest.raises(FileExistsError), new_archive(path, Scrubber([])):
        pass
    assert path.read_text() == "mine"


def test_nothing_is_left_of_a_bundle_that_failed(tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    with pytest.raises(TypeError), new_archive(path, Scrubber([])) as archive:
        archive.add("a.txt", None, "a")  # type: ignore[arg-type]
    assert not path.exists()
