"""One message as the tap saw it, and which ones somebody wants to see. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from module_gateway.protocol.identity import Identity

Hop: TypeAlias = Literal["bus", "upstream"]
Fact: TypeAlias = str | int | bool

KINDS: Final[dict[str, str]] = {
    "connect": "a device or a gateway connects, and the answer",
    "status": "a status on its way up",
    "reply": "the answer to a status; upstream its acknowledgement",
    "command": "a command on its way down",
    "answer": "what became of a command",
    "end": "a device's connection, or a session, ends",
    "probe": "whether an incumbent lives",
    "delivery": "an outbox entry for the external client",
    "ack": "an outbox entry is acknowledged",
    "lease": "who serves an endpoint, and its session",
    "snapshot": "all registered devices with their statuses",
    "buffer": "an operator changes the outbox",
    "unreadable": "bytes that are no message of this protocol",
    "presence": "heartbeats of the processes",
    "live": "which connections a server says it has",
    "receipt": "flow control of deliveries",
}
"""What `--kind` takes, with what it means. One word for both hops where both mean the same."""

QUIET: Final = frozenset({"presence", "live", "receipt"})
"""Comes all the time and says little: shown only when it is asked for."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A message.

    Attributes:
        hop: where.
        kind: one of KINDS.
        sender, receiver: who talks to whom, in words.
        name: of the message in its schema.
        devices: whom it is about, as far as it is known.
        facts: what else it says, in the order of showing.
        payload: status, command or error bytes; None when it has none.
        payload_of: which of them.
    """

    hop: Hop
    kind: str
    sender: str
    receiver: str
    name: str
    devices: tuple[Identity, ...] = ()
    facts: tuple[tuple[str, Fact], ...] = ()
    payload: bytes | None = None
    payload_of: Literal["status", "command", "error", ""] = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which messages are wanted; an empty set does not restrict.

    Attributes:
        kinds: of KINDS; empty: all that are not QUIET.
        devices: only what is about one of these.
    """

    kinds: frozenset[str] = frozenset()
    devices: frozenset[Identity] = frozenset()

    def wants_kind(self, kind: str) -> bool:
        """Whether messages of this kind are wanted at all."""
        return kind in self.kinds if self.kinds else kind not in QUIET

    def wants(self, seen: Seen) -> bool:
        """Whether to show this message."""
        if not self.wants_kind(seen.kind):
            return False
        return not self.devices or any(each in self.devices for each in seen.devices)


def known_kinds(words: Iterable[str]) -> frozenset[str]:
    """These kinds; "all" means every one.

    Raises:
        ValueError: one that does not exist; its text is the word.
    """
    found: set[str] = set()
    for word in words:
        if word == "all":
            found.update(KINDS)
        elif word in KINDS:
            found.add(word)
        else:
            raise ValueError(word)
    return frozenset(found)
