"""What each part saw, and everything that must not be: the words of the verdicts.

A device numbers its statuses `<role><device>.<connection>.<number>`, so each of them tells whose
it is. The module of the simulation merges statuses into a roll, `a1.1.1,a1.1.2,…`: what was
applied, in which order and how often, can be read off every status that goes upstream.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from module_gateway.control_plane.events import StatusApplied
from module_gateway.module_handler.outbox import Entry
from module_gateway.protocol.external import Position
from module_gateway.protocol.identity import Identity
from tests.simulation.schedule import Schedule


class BrokenPromiseError(AssertionError):
    """The product broke a promise, or the simulation found it in a state that cannot be."""


class Tag(NamedTuple):
    """One status of one connection of one device."""

    who: str
    connection: int
    number: int

    @classmethod
    def of(cls, text: bytes) -> Tag:
        who, connection, number = text.rstrip(b"q").decode().split(".")
        return cls(who, int(connection), int(number))


def key_of(status: bytes) -> bytes:
    """A short word for a roll: its last status and its length."""
    return status[status.rfind(b",") + 1 :] + b"#%d" % (status.count(b",") + 1)


class TraceModule:
    """A merge is the roll of all statuses, an error aggregate the list of what was folded."""

    def is_device_type_supported(self, device_type: int) -> bool:
        return True

    def forward_command_on_receive(self, device_type: int) -> bool:
        return False

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        return bool(status)

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        return True

    def generate_first_command(self, device_type: int) -> bytes:
        return b"first"

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        return not new.endswith(b"q")

    def aggregate_status(self, current: bytes, new: bytes, device_type: int) -> bytes:
        return current + b"," + new

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes:
        return command.split(b"|")[0] + b"|" + new

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        return error + b"[" + key_of(status) + b"]"


class Ledger:
    """Everybody reports here; the first wrong thing raises `BrokenPromiseError`.

    `tolerates_repeats`: at a bound so small that it is passed twofold, the handler folds what was
    sent and nobody knows to be applied (R8). What is in such a fold, and in no other, may be told
    once singly and once by a fold: one that ends with a live status has that one's number.
    `is_replaying`: what is replayed and what is live are two orders (R18).
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.tolerates_repeats = False
        self.is_replaying = False
        self.counts: Counter[str] = Counter()
        self.sent: set[bytes] = set()
        self.answered: set[bytes] = set()
        self.applied: dict[str, set[bytes]] = defaultdict(set)
        self._first_of: dict[bytes, bytes] = {}
        self._checked: dict[Identity, bytes] = {}
        self._last_tag: dict[Identity, Tag] = {}
        self._over: dict[Identity, set[tuple[str, int]]] = defaultdict(set)
        self.made: dict[Identity, dict[bytes, int]] = defaultdict(dict)
        self.got: dict[Identity, dict[bytes, int]] = defaultdict(dict)
        self._published: set[bytes] = set()
        self._applied_at: dict[tuple[Identity, Position], StatusApplied] = {}
        self._folded: dict[Identity, dict[int, int]] = defaultdict(dict)
        self._repeats: set[tuple[Identity, int]] = set()
        self._newest: dict[tuple[Identity, bool], int] = {}
        self.commands: dict[bytes, tuple[Identity, int, float]] = {}
        self._newest_command: dict[Identity, tuple[int, float]] = {}

    def fail(self, word: str, *details: object) -> None:
        raise BrokenPromiseError(f"{word}: " + " ".join(map(str, details)))

    # Devices

    def status_sent(self, tag: bytes) -> None:
        self.sent.add(tag)
        self.counts["sent"] += 1

    def status_answered(
        self, identity: Identity, tag: bytes, command: bytes, opened_at: float, away_since: float
    ) -> None:
        """A device got a command; it answers `tag`, the oldest unanswered of its connection."""
        said, _, answered = command.partition(b"|")
        if answered != tag:
            self.fail("wrong device", identity, tag, "was answered", command)
        if tag not in self.applied[identity.role]:
            self.fail("lost", tag, "was answered and is not committed")
        self.answered.add(tag)
        self.counts["answered"] += 1
        if said != b"first":
            self._command_reached(identity, said, opened_at, away_since)

    def command_sent(self, command: bytes) -> None:
        """It leaves the control plane, where it may have waited long for its device."""
        if command in self.commands:
            identity, number, _ = self.commands[command]
            self.commands[command] = identity, number, self._schedule.now

    def _command_reached(
        self, identity: Identity, command: bytes, opened_at: float, away_since: float
    ) -> None:
        known = self.commands.get(command)
        if known is None:
            self.fail("phantom command", command, "at", identity)
            return
        meant, number, sent_at = known
        if meant != identity:
            self.fail("wrong device", command, "reached", identity)
        if sent_at < away_since and opened_at - away_since > STALE_S:
            self.fail(
                "stale command", command, "reached", identity, "after", opened_at - away_since
            )
        newest, newest_at = self._newest_command.get(identity, (0, 0.0))
        if number < newest and opened_at >= newest_at:
            self.fail("stale command", command, "reached", identity, "after number", newest)
        if number > newest:
            self._newest_command[identity] = (number, self._schedule.now)
            self.counts["commands reached"] += 1

    # The handler's store

    def roll_stored(self, identity: Identity, roll: bytes) -> None:
        """A merged status of a registration is committed."""
        checked = self._checked.get(identity, b"")
        if roll == checked:
            return
        if checked and roll.startswith(checked + b","):
            new = roll[len(checked) + 1 :]
        elif checked.startswith(roll):
            return  # published before the newest one was merged, in the same turn
        else:
            new = roll
        self._checked[identity] = roll
        first = roll.split(b",", 1)[0]
        for text in new.split(b","):
            self._apply(identity, text, first)

    def _apply(self, identity: Identity, text: bytes, first: bytes) -> None:
        if text not in self.sent:
            self.fail("phantom", text, "was applied and never sent")
        if not text.startswith(identity.role.encode()):
            self.fail("wrong device", text, "was applied for", identity)
        if (
            self._first_of.setdefault(text, first) is not first
            or text in self.applied[identity.role]
        ):
            self.fail("duplicated", text, "was applied twice")
        tag, last = Tag.of(text), self._last_tag.get(identity)
        if last is not None:
            if last[:2] == tag[:2]:
                if tag.number <= last.number:
                    self.fail("reordered", tag, "was applied after", last)
            else:
                self._over[identity].add(last[:2])
                if tag[:2] in self._over[identity]:
                    self.fail("two holders", tag, "was applied after", last)
        self._last_tag[identity] = tag
        self.applied[identity.role].add(text)
        self.counts["applied"] += 1

    def entry_stored(self, entry: Entry) -> None:
        """An entry of the outbox is committed."""
        identity = entry.device.identity
        self.roll_stored(identity, entry.status)
        self._published.update(entry.status.split(b","))
        if entry.is_repeat:  # the end of a registration, which says its last status again
            self._repeats.add((identity, entry.sequence))
        else:
            self.made[identity][key_of(entry.status)] = entry.sequence

    def fold_stored(self, fold: Entry) -> None:
        """The handler has made its oldest entries one, and that is committed."""
        self._folded[fold.device.identity][fold.sequence] = fold.first_sequence
        self.counts["handler folds"] += 1

    # The control plane's store

    def status_stored(self, change: StatusApplied) -> None:
        """A status is committed by the control plane, for the first time."""
        identity, position = change.device.identity, change.position
        if position is not None:
            former = self._applied_at.get((identity, position))
            if former is not None and not self._repeats_live(former, change, position.sequence):
                self.fail("duplicated upstream", identity, position)
            self._applied_at[identity, position] = change
        if change.error is not None:
            self.counts["folds"] += 1
            for each in change.error.split(b"[")[1:]:
                self._count(identity, each.rstrip(b"]"), change)
        elif position is not None and (identity, position.sequence) not in self._repeats:
            self._count(identity, key_of(change.status), change)

    def _repeats_live(self, former: StatusApplied, change: StatusApplied, sequence: int) -> bool:
        """A fold of the handler ends with what a session sent live, and has its number."""
        if former.live_from == 0 or former.error is not None or change.live_from > 0:
            return False
        self.counts["folds of live"] += 1
        return self._is_in_fold(change, sequence)

    def _is_in_fold(self, change: StatusApplied, sequence: int) -> bool:
        """What is told stands for a fold of the handler in which this entry is."""
        if not self.tolerates_repeats or change.error is None or change.position is None:
            return False
        return any(
            first <= sequence <= last <= change.position.sequence
            for last, first in self._folded[change.device.identity].items()
        )

    def _count(self, identity: Identity, key: bytes, change: StatusApplied) -> None:
        place = self.made[identity].get(key)
        if place is None:
            self.fail("phantom upstream", identity, key)
            return
        got = self.got[identity]
        if key in got:
            if not self._is_in_fold(change, place):
                self.fail("duplicated upstream", identity, key, "after", list(got)[-5:], change)
            self.counts["upstream repeats"] += 1
            return
        lane = (identity, change.is_replayed and self.is_replaying)
        if place < self._newest.get(lane, -1):
            self.fail("reordered upstream", identity, key, "after", list(got)[-5:], change)
        self._newest[lane] = place
        got[key] = place

    # The end

    def check_end(self) -> None:
        """Everything has come to rest and the devices have left."""
        for identity, made in self.made.items():
            missing = made.keys() - self.got[identity].keys()
            if missing:
                self.fail("lost upstream", identity, sorted(missing))
        missing = self.answered - self._published
        if missing:
            self.fail("lost", sorted(missing), "were answered and never published")


STALE_S = 6.5
"""A device that was away for longer than silence (4 s) and grace (2 s) gets no old command."""
