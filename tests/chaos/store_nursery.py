"""A program: forks processes that write into a store until they are killed.

Standard input holds one line per process, `folder durability seed failure`, where the failure is
what UNSYNCED_FAIL of `unsynced.c` takes, or `-`. Each prints its process id,
then the number of every entry that was committed, all into `folder/said`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import (
    Change,
    CommandsStored,
    DeviceStored,
    EntriesTrimmed,
    EntryAppended,
    RegistrationStored,
)
from module_gateway.protocol.identity import Device

DEVICES = [Device.of(7, 0, f"device_{number}") for number in range(5)]


def status_of(sequence: int) -> bytes:
    """What entry `sequence` must hold."""
    return b"%d:" % sequence + bytes(sequence * 7 % 251 for _ in range(sequence * 37 % 900))


def entry_of(sequence: int) -> Entry:
    """Entry `sequence`, the same in every process."""
    device = DEVICES[sequence % len(DEVICES)]
    return Entry(sequence, device, status_of(sequence), False, False, None, 1_800_000_000_000)


async def write_until_killed(folder: Path, durability: str, seed: int, said: int) -> None:
    """Commit batches of entries, now and then a trim; say each number when it is committed."""
    rng = Random(seed)
    store = SqliteStore(folder / "handler.db", durability)  # type: ignore[arg-type]
    state = await store.load()
    last = state.last_sequence
    while True:
        numbers = range(last + 1, last + 1 + rng.choice((1, 2, 10, 60)))
        changes: list[Change] = [EntryAppended(entry_of(number)) for number in numbers]
        for number in numbers[-2:]:
            device = DEVICES[number % len(DEVICES)]
            registered = RegistrationStored(device, status_of(number), False, CommandsStored(b"c"))
            changes.append(DeviceStored(device.identity, None, registered))
        if rng.random() < 0.05 and last > 500:
            changes += [EntriesTrimmed(each.identity, last - 400) for each in DEVICES]
        await store.commit(changes)
        last = numbers[-1]
        os.write(said, b"%d\n" % last)


def main() -> None:
    """Fork one process per line."""
    for line in sys.stdin:
        folder, durability, seed, failure = line.split()
        child = os.fork()
        if child:
            sys.stdout.write(f"{child}\n")
            sys.stdout.flush()
            os.waitpid(child, 0)
            continue
        os.close(0)
        if failure != "-":
            os.environ["UNSYNCED_FAIL"] = failure
        said = os.open(f"{folder}/said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            asyncio.run(write_until_killed(Path(folder), durability, int(seed), said))
        except BaseException as error:  # noqa: BLE001  # a fork must not return into the loop
            os.write(2, f"{error!r}\n".encode())
        os._exit(1)


if __name__ == "__main__":
    main()
