"""A change of the configuration never deletes what waits: it stays, or it is folded."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from module_gateway.module_handler.buffer import app
from module_gateway.module_handler.buffer.app import main
from module_gateway.module_handler.buffer.lines import line_of
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.buffer.view import open_view, store_path
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import EntryAppended
from module_gateway.protocol.identity import Device, Identity
from tests.brokers import MosquittoBroker
from tests.integration.stack import REPOSITORY, START_LIMIT_S, STOP_LIMIT_S

TIME = int(time.time() * 1000) - 3_600_000
A, B = Device.of(3, 0, "a"), Device.of(3, 0, "b")
BUTTON = Device.of(1000, 0, "button")
PER_DEVICE = 40
DEVICES = (A, B, BUTTON)

Covered = dict[Identity, set[int]]


class Site:
    """A state folder with a bus, and the handler's configuration of the moment."""

    def __init__(self, folder: Path, broker: MosquittoBroker) -> None:
        self.state_dir = folder / "state"
        self.store = store_path(self.state_dir)
        self._file = folder / "config.json"
        self._broker = broker

    def configure(self, **sections: Mapping[str, object]) -> None:
        """The whole configuration from now on."""
        sections.setdefault("module-paths", {"3": "transparent", "1000": "example"})
        own = {"metrics-port": 0, **sections.pop("module-handler-settings", {})}
        settings = {
            "config-version": 1,
            "bus": {"socket": str(self._broker.socket_path)},
            "module-handler-settings": own,
            "external-connection": {
                "endpoints": [
                    {
                        "protocol-type": "mqtt", "server-ip": "127.0.0.1", "port": 1,
                        "modules": sorted(map(int, sections["module-paths"])),
                    }
                ]
            },
            **sections,
        }  # fmt: skip
        self._file.write_text(json.dumps(settings))

    @property
    def options(self) -> tuple[str, ...]:
        return ("--config", str(self._file), "--state-dir", str(self.state_dir))

    async def fill(self) -> None:
        """Entries of three devices, taking turns."""
        store = SqliteStore(self.store)
        await store.load()
        entries = [
            Entry(number, DEVICES[number % 3], b'{"pressed": true}', time_unix_ms=TIME + number)
            for number in range(1, 3 * PER_DEVICE + 1)
        ]
        await store.commit([EntryAppended(entry) for entry in entries])
        await store.close()

    @asynccontextmanager
    async def handler(self) -> AsyncIterator[None]:
        """A real one, from when it is ready until it has stopped as asked."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "module_gateway", "module-handler", *self.options,
            stderr=asyncio.subprocess.PIPE, cwd=REPOSITORY,
            env={k: v for k, v in os.environ.items() if not k.startswith("IPC_MQTT")},
        )  # fmt: skip
        said: list[str] = []
        assert process.stderr is not None
        try:
            async with asyncio.timeout(START_LIMIT_S):
                async for line in process.stderr:
                    said.append(line.decode())
                    if '"ready"' in said[-1]:
                        break
                else:
                    raise AssertionError("".join(said))
            draining = asyncio.create_task(process.stderr.read())
            yield
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_LIMIT_S):
                assert 0 == await process.wait(), "".join(said) + (await draining).decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def covered(self) -> Covered:
        """Which numbers wait, themselves or in a fold."""
        found: Covered = {}
        with open_view(self.store) as view:
            for entry in view.entries(Selection()):
                assert isinstance(entry, Entry)
                first = entry.first_sequence or entry.sequence
                found.setdefault(entry.device.identity, set()).update(
                    number
                    for number in range(first, entry.sequence + 1)
                    if DEVICES[number % 3].identity == entry.device.identity
                )
        return found

    def stat(self, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        capsys.readouterr()
        assert 0 == main(["stat", "--json", *self.options])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found


ALL: Covered = {
    device.identity: {
        number for number in range(1, 3 * PER_DEVICE + 1) if DEVICES[number % 3] == device
    }
    for device in DEVICES
}


@pytest.fixture(autouse=True)
def _own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands run in this process, whose log is not theirs."""
    monkeypatch.setattr(app, "configure", lambda *_: None)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with MosquittoBroker(tmp_path, has_tcp=False) as broker:
        yield Site(tmp_path, broker)


@pytest.mark.timeout(120)
async def test_entries_of_a_module_that_is_taken_out_stay_and_are_named(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    await site.fill()
    paths = {"3": "transparent"}
    site.configure(**{"module-paths": paths, "module-handler-settings": {"outbox-entries": 2}})
    async with site.handler():
        found = site.stat(capsys)
        assert found["handler_pid"] is not None
    assert ALL == site.covered()
    assert [(3, True), (1000, False)] == [
        (each["module"], each["is_configured"]) for each in found["modules"]
    ]
    assert PER_DEVICE == site.stat(capsys)["modules"][1]["entries"]
    site.configure(**{"module-handler-settings": {"modules": [1000]}})
    async with site.handler():
        pass
    assert ALL == site.covered()


@pytest.mark.timeout(120)
async def test_a_lower_bound_folds_and_deletes_nothing(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await site.fill()
    site.configure(**{"module-handler-settings": {"outbox-entries": 4}})
    more = [Entry(0, each, b'{"pressed": true}', True, time_unix_ms=TIME) for each in DEVICES]
    file = tmp_path / "more.jsonl"
    file.write_text("".join(f"{line_of(entry)}\n" for entry in more))
    async with site.handler():
        assert 0 == await asyncio.to_thread(main, ["replay", str(file), *site.options])
        async with asyncio.timeout(START_LIMIT_S):
            while site.stat(capsys)["bounds"]["device_full"] > 1.0:
                await asyncio.sleep(0.05)  # of another process: there is no event to wait for
    found = site.covered()
    assert all(ALL[identity] <= found[identity] for identity in ALL)
    assert site.stat(capsys)["entries"] <= 3 * 4


@pytest.mark.timeout(120)
@pytest.mark.parametrize("durability", ["process", "memory"])
async def test_another_durability_leaves_the_file_as_it_is(site: Site, durability: str) -> None:
    await site.fill()
    for setting in (durability, "power"):
        site.configure(**{"module-handler-settings": {"durability": setting}})
        async with site.handler():
            pass
        assert ALL == site.covered()
