"""Stores to be damaged, ways to damage them, and what has to be left of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

from module_gateway.module_handler.command_log import Verdict
from module_gateway.module_handler.leaf_pages import TABLE_LEAF, Flaw, rows
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.page_images import FRAME_BYTES, LOG_HEADER_BYTES, PAGE_BYTES
from module_gateway.module_handler.records import Record, StoreNamed, VerdictGiven
from module_gateway.module_handler.roster import Connection
from module_gateway.module_handler.store import (
    Change,
    CommandsStored,
    DeviceForgotten,
    DeviceStored,
    EntriesFolded,
    EntriesTrimmed,
    EntryAppended,
    HolderStored,
    LeaseStored,
    RegistrationStored,
    StreamQuery,
    VerdictRecorded,
)
from module_gateway.module_handler.store_files import companions
from module_gateway.module_handler.store_reader import read_page
from module_gateway.module_handler.store_schema import connect, prepare, write_back
from module_gateway.module_handler.store_writer import CEILING_STEP, StoreWriter
from module_gateway.protocol.identity import Device, Identity

DEVICES: Final = [Device.of(module, 0, role) for module in (7, 8) for role in "abc"]
STORE_ID: Final = 77
LARGE_BYTES: Final = 4_000

TAKES_THE_REST_WITH_IT: Final = ("delete_log", "cut_log")
"""What was in the log after the cut is gone, wherever it belonged."""

Key: TypeAlias = tuple[str, object]
"""What a record is about."""


@dataclass
class Sample:
    """The files of a store as a killed handler leaves them, and everything that was in it.

    Attributes:
        files: database, log and index.
        state: what is in it, by key.
        ever: everything that was in it at any time, by key.
        last_sequence: the highest number that was given out.
    """

    files: tuple[bytes, bytes, bytes]
    state: dict[Key, object] = field(default_factory=dict)
    ever: dict[Key, set[object]] = field(default_factory=dict)
    last_sequence: int = 0

    def write(self, path: Path, files: tuple[bytes, bytes, bytes] | None = None) -> None:
        """Put (damaged) files at `path`; an empty log or index means that there is none."""
        for at, (name, content) in enumerate(
            zip(companions(path), files or self.files, strict=True)
        ):
            name.unlink(missing_ok=True)
            if content or at == 0:
                name.write_bytes(content)


def sample(folder: Path, seed: int, largest_batch: int = 20) -> Sample:
    """A store of 20 to 60 KiB with something of everything, some of it only in the log.

    A third of its transactions has `largest_batch` entries; 20,000 make a store of some MB.
    """
    random = Random(seed)
    path = folder / f"sample-{seed}.db"
    result = Sample((b"", b"", b""))
    with closing(connect(path, is_synced=False)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        prepare(connection, path, StoreNamed(STORE_ID, CEILING_STEP))
        write_back(connection)
        writer = StoreWriter(connection, is_synced=False, max_verdicts=20)
        for step in range(random.randrange(4, 9)):
            writer.commit(_changes(random, result, largest_batch))
            if random.random() < 0.5:
                write_back(connection)
            if step % 3 == 0 and writer.has_leisure_work:
                writer.tidy()
        result.files = tuple(each.read_bytes() for each in companions(path))  # type: ignore[assignment]
    for each in companions(path):
        each.unlink(missing_ok=True)
    return result


def _changes(random: Random, result: Sample, largest_batch: int) -> list[Change]:
    changes: list[Change] = []
    for _ in range(random.choice((1, 4, largest_batch))):
        result.last_sequence += 1
        size_bytes = random.choice((0, 10, 80, 80, 300)) if random.random() < 0.98 else 5_000
        device = random.choice(DEVICES)
        entry = Entry(result.last_sequence, device, random.randbytes(size_bytes))
        changes.append(EntryAppended(entry))
        _keep(result, ("entry", entry.sequence), entry)
    device = random.choice(DEVICES)
    if random.random() < 0.4:
        last = result.last_sequence - random.randrange(40)
        changes.append(EntriesTrimmed(device.identity, last))
        _trim(result, device.identity, 0, last)
    if random.random() < 0.2:
        first = max(1, result.last_sequence - random.randrange(40))
        changes.append(EntriesTrimmed(device.identity, first + 9, first))
        _trim(result, device.identity, first, first + 9)
    changes += _fold(random, result)
    changes += _about_devices(random, result)
    return changes


def _keep(result: Sample, key: Key, value: object) -> None:
    result.state[key] = value
    result.ever.setdefault(key, set()).add(value)


def _trim(result: Sample, identity: Identity, first: int, last: int) -> None:
    for key, entry in list(result.state.items()):
        if (
            isinstance(entry, Entry)
            and entry.device.identity == identity
            and first <= entry.sequence <= last
        ):
            del result.state[key]


def _fold(random: Random, result: Sample) -> list[Change]:
    entries = [each for each in result.state.values() if isinstance(each, Entry)]
    if random.random() < 0.8 or not entries:
        return []
    newest = random.choice(entries)
    fold = Entry(newest.sequence, newest.device, b"fold", error=b"error", first_sequence=1)
    _trim(result, fold.device.identity, 0, fold.sequence)
    _keep(result, ("entry", fold.sequence), fold)
    return [EntriesFolded(fold)]


def _about_devices(random: Random, result: Sample) -> list[Change]:
    device = random.choice(DEVICES)
    commands = CommandsStored(random.randbytes(9), (random.randbytes(20),), None)
    stored = DeviceStored(
        device.identity,
        HolderStored(device, Connection(random.getrandbits(64), 1), 5, b"reply"),
        RegistrationStored(device, random.randbytes(60), has_unpublished=True, commands=commands),
    )
    lease = LeaseStored(random.randrange(3), random.getrandbits(40), frozenset({7}), True)
    session = result.last_sequence // 60
    verdict = VerdictRecorded(
        0, Verdict(1, session, random.getrandbits(20), device.identity, random.randrange(4))
    )
    for key in [key for key, value in result.state.items() if key[0] == "verdict"]:
        older = result.state[key]
        if isinstance(older, VerdictRecorded) and older.verdict.session != session:
            del result.state[key]
    _keep(result, ("device", device.identity), stored)
    _keep(result, ("lease", lease.endpoint), lease)
    _keep(result, ("verdict", verdict.verdict.counter), verdict)
    if random.random() < 0.1:
        result.state.pop(("device", device.identity))
        return [lease, verdict, stored, DeviceForgotten(device.identity)]
    return [stored, lease, verdict]


Files: TypeAlias = tuple[bytes, bytes, bytes]


@dataclass(frozen=True)
class Damage:
    """What a mutation has made of the files.

    Attributes:
        files: database, log and index.
        spans: part (0 database, 1 log), first and last byte that are not as they were.
        is_cut: the log is shorter: what a power cut may leave, too.
    """

    files: Files
    spans: tuple[tuple[int, int, int], ...]
    is_cut: bool = False


def _part(random: Random, files: Files) -> int:
    return random.choice((0, 1)) if files[1] else 0


def _with(files: Files, part: int, content: bytes) -> Files:
    return (content, *files[1:]) if part == 0 else (files[0], content, files[2])


def flip_bit(random: Random, files: Files) -> Damage:
    part = _part(random, files)
    content = bytearray(files[part])
    at = random.randrange(len(content))
    content[at] ^= 1 << random.randrange(8)
    return Damage(_with(files, part, bytes(content)), ((part, at, at),))


def overwrite_run(random: Random, files: Files) -> Damage:
    part = _part(random, files)
    content = bytearray(files[part])
    at = random.randrange(len(content))
    run = random.randbytes(min(random.choice((2, 8, 64, 512, 5_000)), len(content) - at))
    content[at : at + len(run)] = run
    return Damage(_with(files, part, bytes(content)), ((part, at, at + len(run) - 1),))


def zero_page(random: Random, files: Files) -> Damage:
    part = _part(random, files)
    content = bytearray(files[part])
    at = random.randrange(max(1, len(content) // PAGE_BYTES)) * PAGE_BYTES
    end = min(at + PAGE_BYTES, len(content))
    content[at:end] = bytes(end - at)
    return Damage(_with(files, part, bytes(content)), ((part, at, end - 1),))


def truncate(random: Random, files: Files) -> Damage:
    length = random.randrange(len(files[0]))
    return Damage((files[0][:length], *files[1:]), ((0, length, len(files[0]) - 1),))


def append_garbage(random: Random, files: Files) -> Damage:
    part = _part(random, files)
    content = files[part] + random.randbytes(random.choice((1, 24, 4_096, 4_120, 9_000)))
    return Damage(_with(files, part, content), ())


def swap_pages(random: Random, files: Files) -> Damage:
    content = bytearray(files[0])
    count = len(content) // PAGE_BYTES
    if count < 2:
        return flip_bit(random, files)
    one, other = (each * PAGE_BYTES for each in random.sample(range(count), 2))
    page = content[one : one + PAGE_BYTES]
    content[one : one + PAGE_BYTES] = content[other : other + PAGE_BYTES]
    content[other : other + PAGE_BYTES] = page
    spans = ((0, one, one + PAGE_BYTES - 1), (0, other, other + PAGE_BYTES - 1))
    return Damage(_with(files, 0, bytes(content)), spans)


def delete_log(random: Random, files: Files) -> Damage:
    del random
    return Damage((files[0], b"", files[2]), ((1, 0, len(files[1])),))


def cut_log(random: Random, files: Files) -> Damage:
    """As a power cut: the index, which is never synced, is gone with it half of the time."""
    length = random.randrange(len(files[1])) if files[1] else 0
    index = files[2] if random.random() < 0.5 else b""
    return Damage(
        (files[0], files[1][:length], index), ((1, length, len(files[1])),), is_cut=not index
    )


def zero_log_header(random: Random, files: Files) -> Damage:
    del random
    if not files[1]:
        return Damage(files, ())
    content = bytes(LOG_HEADER_BYTES) + files[1][LOG_HEADER_BYTES:]
    return Damage((files[0], content, files[2]), ((1, 0, LOG_HEADER_BYTES - 1),))


MUTATIONS: Final[dict[str, Callable[[Random, Files], Damage]]] = {
    each.__name__: each
    for each in (
        flip_bit,
        overwrite_run,
        zero_page,
        truncate,
        append_garbage,
        swap_pages,
        delete_log,
        cut_log,
        zero_log_header,
    )
}


def touched(original: Files, damage: Damage) -> set[Key]:
    """What the pages and frames are about that lie (partly) in what was damaged."""
    keys: set[Key] = set()
    for part, first, last in damage.spans:
        if part == 0:
            pages = range(first // PAGE_BYTES, last // PAGE_BYTES + 1)
            places = [page * PAGE_BYTES for page in pages]
        else:
            start = max(0, first - LOG_HEADER_BYTES) // FRAME_BYTES
            frames = range(start, max(0, last - LOG_HEADER_BYTES) // FRAME_BYTES + 1)
            places = [LOG_HEADER_BYTES + (at + 1) * FRAME_BYTES - PAGE_BYTES for at in frames]
        for at in places:
            keys |= _keys_in(original[part][at : at + PAGE_BYTES])
    return keys


def _keys_in(page: bytes) -> set[Key]:
    if len(page) < PAGE_BYTES or page[0] != TABLE_LEAF:
        return set()
    found = (_key(each) for each in rows(page, lambda _: None) if not isinstance(each, Flaw))
    return {key for key in found if key is not None}


def _key(record: Record) -> Key | None:
    match record:
        case Entry():
            return "entry", record.sequence
        case DeviceStored():
            return "device", record.identity
        case LeaseStored():
            return "lease", record.endpoint
        case VerdictGiven():
            return "verdict", record.verdict.counter
        case _:
            return None


def is_large(value: object) -> bool:
    """Whether a record reaches into other pages than the one that it begins in."""
    return isinstance(value, Entry) and len(value.status) > LARGE_BYTES


def contents_of(writer: StoreWriter) -> dict[Key, object]:
    """Everything in an open store, as the handler sees it."""
    state = writer.loaded.state
    found: dict[Key, object] = {}
    found.update({("device", each.identity): each for each in state.devices})
    found.update({("lease", each.endpoint): each for each in state.leases})
    found.update({("verdict", each.verdict.counter): each for each in state.verdicts})
    after, is_complete = 0, False
    while not is_complete:
        query = StreamQuery(0, 0, 0, frozenset({7, 8}), after, 2**62, 10**6)
        page = read_page(writer.connection, query, writer.logs)
        found.update({("entry", each.sequence): each for each in page.entries})
        is_complete = page.is_complete
        after = page.entries[-1].sequence if page.entries else after
    return found


def check_found(
    case: str,
    sound: Sample,
    damage: Damage,
    state: dict[Key, object],
    store_id: int,
    last_sequence: int,
    findings: list[str],
) -> None:
    """Whether a handler has what it must, says what is missing, and gives no number twice.

    `case` begins with the name of the mutation; `findings` are what the reports say.
    """
    altered = [key for key, value in state.items() if value not in sound.ever.get(key, ())]
    assert [] == altered, case
    missing = {key for key, value in sound.state.items() if state.get(key) != value}
    if missing and not damage.is_cut:
        assert findings, f"{case}: {missing} are missing and nothing says so"
    if findings and not case.startswith(TAKES_THE_REST_WITH_IT):
        large = {key for key in missing if is_large(sound.state[key])}
        assert set() == missing - touched(sound.files, damage) - large, case
    if store_id == STORE_ID and not damage.is_cut:
        assert sound.last_sequence <= last_sequence, f"{case}: a number may come twice"
