"""Row D5: a gateway that starts with a million entries in its store, and drains them.

Three promises: the handler is ready at once, devices are answered in time while it drains, and
neither costs memory that grows with the backlog.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Final

from module_gateway.module_handler.app import STORE_FILE
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import (
    Change,
    CommandsStored,
    DeviceStored,
    EntryAppended,
    RegistrationStored,
)
from module_gateway.protocol.identity import Device, Identity
from module_gateway.runtime.state import run_note_path
from tests.chaos.flood import Reporter, reporters, status_of
from tests.chaos.footprint import load_average, milliseconds, percentile, size_mib
from tests.chaos.late_control_plane import AGGREGATE, MODULE, Scene, scene
from tests.chaos.outage import CALM_S, SHRINK_LIMIT_S, Finding, reporting, shrunk
from tests.chaos.witness import DISCONNECT

DEVICES: Final = 500
LIVE: Final = 100
"""So many of them report once a second while the backlog drains."""
EACH: Final = 2_000
BATCH: Final = 5_000
START_LIMIT_S: Final = 2.0
REPLY_LIMIT_S: Final = 0.25
RSS_LIMIT_MIB: Final = 150.0
DRAIN_LIMIT_S: Final = 120.0
"""How long it is watched; N1 shows that a drain ends."""
POLL_S: Final = 0.1
HANDLER: Final = "module_handler"
IDENTITIES: Final = [Identity(MODULE, 0, f"device_{number}") for number in range(DEVICES)]


async def fill(state_dir: Path, each: int) -> None:
    """A store with `each` entries of every device, as an outage leaves it, in turns."""
    path = state_dir / STORE_FILE
    path.parent.mkdir(mode=0o700, parents=True)
    state_dir.chmod(0o700)
    store = SqliteStore(path, "process")
    devices = [Device(identity, identity.role) for identity in IDENTITIES]
    written_unix_ms = int(time.time() * 1000) - 3_600_000
    await store.load()
    commands = CommandsStored(b'{"lit_up": false}')
    changes: list[Change] = [
        DeviceStored(
            device.identity, None, RegistrationStored(device, status_of(each), False, commands)
        )
        for device in devices
    ]
    sequence = 0
    for number in range(1, each + 1):
        for device in devices:
            sequence += 1
            at = written_unix_ms + number
            changes.append(
                EntryAppended(Entry(sequence, device, status_of(number), time_unix_ms=at))
            )
        if len(changes) >= BATCH:
            await store.commit(changes)
            changes = []
    await store.commit(changes)
    await store.close()


def start_s(here: Scene) -> float:
    """From the fork of the handler's process to its ready line: interpreter, imports, store."""
    note = run_note_path(here.stack.state_dir, HANDLER)
    pid = json.loads(note.read_text())["pid"]
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    booted_unix_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    born_unix_s = booted_unix_s + ticks / 100
    return note.stat().st_mtime - born_unix_s


async def load_s(state_dir: Path) -> float:
    """What opening and loading the store takes by itself, in this process."""
    store = SqliteStore(state_dir / STORE_FILE)
    started = time.monotonic()
    await store.load()
    took_s = time.monotonic() - started
    await store.close()
    return took_s


async def run(mode: str, scale: float = 1.0, drain_limit_s: float = DRAIN_LIMIT_S) -> Finding:
    """Start on the backlog, then let the control plane come and drain it."""
    each = max(2, int(EACH * scale))
    found = Finding("D5", mode)
    figures = found.figures
    figures["entries"] = each * DEVICES
    async with scene(mode) as here:
        figures["ready_s_with_an_empty_store"] = round(start_s(here), 2)

    async def prepare(state_dir: Path) -> None:
        started = time.monotonic()
        await fill(state_dir, each)
        figures["filled_in_s"] = round(time.monotonic() - started, 1)
        figures["store_loaded_in_s"] = round(await load_s(state_dir), 3)

    async with scene(mode, prepare=prepare) as here:
        figures["ready_s"] = round(start_s(here), 2)
        figures["load_average_at_the_start"] = load_average()
        store = here.stack.state_dir / "store"
        figures["store_mib"] = {"before": size_mib(store)}
        here.memory.look()
        figures["rss_mib_at_the_start"] = here.memory.most_mib.get(HANDLER)
        fleet = reporters(IDENTITIES[:LIVE], here.stack.gateway, first=each + 1)
        async with reporting(fleet):
            await asyncio.sleep(CALM_S)
            await here.control_plane.start()
            await drain(found, here, fleet, each, drain_limit_s)
            figures["closed_devices"] = await here.closures()
            await asyncio.sleep(CALM_S)
        if figures["is_drained"]:
            figures["store_small_again_after_s"] = await shrunk(here, SHRINK_LIMIT_S)
        figures["store_mib"]["afterwards"] = size_mib(store)
        figures["rss_most_mib"] = dict(here.memory.look())
        figures["load_average"] = load_average()
        judge_backlog(found, here, fleet, each)
    judge_limits(found)
    found.failures += here.witness.faults
    return found


async def drain(
    found: Finding, here: Scene, fleet: list[Reporter], each: int, limit_s: float
) -> None:
    """Wait until every entry of the backlog is upstream; how quickly devices are answered."""
    came, used_s = time.monotonic(), here.memory.cpu_s()
    wanted = DEVICES if found.mode == AGGREGATE else DEVICES * each
    left = True
    while left and time.monotonic() - came < limit_s:
        await asyncio.sleep(POLL_S)
        left = here.witness.statuses < wanted or any(
            here.witness.newest[identity.role] < each for identity in IDENTITIES
        )
    figures = found.figures
    took_s = time.monotonic() - came
    figures["is_drained"] = not left
    figures["drained_for_s"] = round(took_s, 1)
    figures["heard_upstream"] = here.witness.statuses
    figures["heard_per_s"] = round(here.witness.statuses / took_s)
    figures["cores_while_draining"] = here.memory.cores_since(used_s, came)
    waits = [
        wait
        for device in fleet
        for at, wait in zip(device.answered_at, device.waits_s, strict=True)
        if at >= came
    ]
    figures["answers_while_draining"] = len(waits)
    figures["answer_ms_while_draining"] = milliseconds(waits)
    p99 = percentile(sorted(waits), 99)
    found.require(
        p99 is not None and p99 <= REPLY_LIMIT_S, f"answers took {p99} s (p99) while draining"
    )


def judge_backlog(found: Finding, here: Scene, fleet: list[Reporter], each: int) -> None:
    """Nothing is told twice; when all is drained, nothing is lost. How much came in folds."""
    folded = missing = twice = late = 0
    live = {device.identity.role: device for device in fleet}
    for identity in IDENTITIES:
        heard = [
            one
            for one in here.witness.heard[identity.role]
            if one.state != DISCONNECT and not one.is_marker
        ]
        folds = [one for one in heard if one.error]
        covered = sum(json.loads(one.error or b"")["total_statuses"] for one in folds)
        numbers = Counter(one.number for one in heard if not one.error)
        folded += covered
        twice += sum(times - 1 for times in numbers.values())
        newest = max((one.number for one in folds), default=0)
        twice += max(0, covered + sum(number <= newest for number in numbers) - newest)
        told = covered + len(numbers)
        missing += max(0, each - told)
        device = live.get(identity.role)
        late += len(device.answered - numbers.keys()) if device is not None else 0
    found.figures |= {
        "statuses_in_folds": folded,
        "of_the_backlog_not_told": missing,
        "live_statuses_not_told_one_by_one": late,
        "duplicated": twice,
    }
    found.require(not twice, f"{twice} statuses were told twice")
    is_whole = not missing or not found.figures["is_drained"]
    found.require(is_whole, f"{missing} statuses of the backlog are lost")


def judge_limits(found: Finding) -> None:
    """Start and memory."""
    took_s = found.figures["ready_s"]
    found.require(took_s <= START_LIMIT_S, f"the handler was ready after {took_s} s")
    most = found.figures["rss_most_mib"][HANDLER]
    found.require(most < RSS_LIMIT_MIB, f"the handler took {most} MiB")
