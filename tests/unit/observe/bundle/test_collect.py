from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from module_gateway.module_handler.buffer.view import store_path
from module_gateway.observe.bundle.archive import MANIFEST, new_archive
from module_gateway.observe.bundle.collect import Collector
from module_gateway.observe.secrets import Scrubber
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.settings import Logging, LogSink, Settings
from tests.unit.module_handler.buffer.stores import NOW, appended, committed, entry
from tests.unit.observe.bundle.test_archive import contents

ALWAYS = {
    "configuration.json", "versions.json", "check.txt", "check.json", "status.txt", "status.json",
    "buffer.json", "store.json", MANIFEST,
}  # fmt: skip


def settings(folder: Path) -> Settings:
    logging = Logging(file=LogSink(use=True, path=str(folder)))
    return default_settings().model_copy(update={"state_dir": folder / "state", "logging": logging})


def bundle(folder: Path, *, has_payloads: bool) -> dict[str, str]:
    path = folder / "b.tar.gz"
    environ = {"IPC_MQTT_SOCKET": str(folder / "bus.sock")}
    with new_archive(path, Scrubber([])) as archive:
        collector = Collector(settings(folder), archive, environ, NOW, lambda: None)
        collector.collect(has_payloads=has_payloads)
        archive.close({})
    return contents(path)


@pytest.fixture(autouse=True)
def no_bus_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IPC_MQTT_SOCKET", str(tmp_path / "bus.sock"))


@pytest.mark.parametrize("has_payloads", [True, False])
async def test_what_devices_said_is_in_it_only_when_asked_for(
    tmp_path: Path, has_payloads: bool
) -> None:
    await committed(store_path(tmp_path / "state"), *appended([entry(1, status=b'"utterance"')]))
    (tmp_path / "ModuleGateway.log").write_text("a warn  h status_invalid status=utterance\n")
    (tmp_path / "state/run").mkdir()
    (tmp_path / "state/run/gateway.json").write_text('{"pid": 4194305}')
    found = await asyncio.to_thread(bundle, tmp_path, has_payloads=has_payloads)
    assert set(found) - ALWAYS == {"run/gateway.json", "log/ModuleGateway.log"} | (
        {"entries.jsonl"} if has_payloads else set()
    )
    assert (
        any("utterance" in text for name, text in found.items() if name != MANIFEST) == has_payloads
    )
    assert json.loads(found["buffer.json"])["entries"] == 1
    assert json.loads(found[MANIFEST])["missing"] == []


def test_what_cannot_be_had_is_named_and_the_rest_is_there(tmp_path: Path) -> None:
    (tmp_path / "state/store").mkdir(parents=True)
    store_path(tmp_path / "state").write_bytes(b"x" * 5000)
    found = bundle(tmp_path, has_payloads=True)
    missing = {each["name"] for each in json.loads(found[MANIFEST])["missing"]}
    assert missing == {"buffer.json", "store.json", "entries.jsonl", "log"}
    assert ALWAYS - {"buffer.json", "store.json"} <= set(found)
