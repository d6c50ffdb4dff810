"""Where an operator's tool asks the handler to change the outbox that it owns.

Pure. While the handler runs, its memory and its store must agree, so nobody else writes there
(contract R4): a purge or a replay is a message, done in a turn like everything else and answered
after the commit (R1). A request is done whole or, with a sentence that says why, not at all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from module_gateway.bus.address import Address
from module_gateway.module_handler.connections import Reader
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.turn import Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device, Identity

TOOL: Final = int(bus_pb2.TOOL)

MAX_TOOLS: Final = 16
"""Whose newest answer is remembered; more than one operator types at a time."""


class Owed(Protocol):
    """What is owed upstream, as far as the desk changes it: `upstream.Upstream`."""

    def owes(self, identity: Identity) -> bool:
        """Whether an entry of this identity waits."""

    def purge(self, identity: Identity, first: int, last: int, turn: Turn) -> None:
        """An identity's entries with these numbers are to be gone, wherever they are."""

    def put_back(self, entry: Entry, turn: Turn) -> None:
        """Append an entry under the next number."""

    def void(self, turn: Turn) -> None:
        """Make the clients forget what they hold, which is no longer true, and ask anew."""


class BufferDesk:
    """The conversation with tools.

    Args:
        owed: what they change.
        modules: numbers of those that this handler serves.
        is_registered: whether a device is there now.
        store_id: of the handler's store; requests about another one are none of ours.
    """

    def __init__(
        self,
        owed: Owed,
        modules: Collection[int],
        is_registered: Callable[[Identity], bool],
        store_id: int,
    ) -> None:
        self._owed = owed
        self._modules = modules
        self._is_registered = is_registered
        self._store_id = store_id
        self._answers: OrderedDict[Address, bus_pb2.Message] = OrderedDict()
        self.readers: Final[Mapping[str, Reader]] = {"buffer_request": self._buffer_request}

    def _buffer_request(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        request = message.buffer_request
        if request.store_id != self._store_id:
            return
        known = self._answers.get(sender)
        if known is not None and known.buffer_answer.request == request.request:
            turn.send(sender, known)
            return
        returned = [_entry(each) for each in request.returned]
        refusal = self._refusal(returned)
        if not refusal:
            self._purge(sender, request, turn)
            self._put_back(sender, request, returned, turn)
        answer = bus_pb2.Message()
        answer.buffer_answer.store_id = self._store_id
        answer.buffer_answer.request = request.request
        answer.buffer_answer.refusal = refusal
        self._answers[sender] = answer
        while len(self._answers) > MAX_TOOLS:
            self._answers.popitem(last=False)
        turn.send(sender, answer)

    def _refusal(self, returned: list[Entry]) -> str:
        """Why these entries cannot be put back, "" when they can."""
        begun: set[Identity] = set()
        for entry in returned:
            identity = entry.device.identity
            if identity.module not in self._modules:
                return f"module {identity.module} is not configured"
            if entry.error is not None and (identity in begun or self._owed.owes(identity)):
                return (
                    f"an entry of {identity} stands for older ones, so it can only be the first, "
                    "and others of that device wait: replay it when they are delivered or purged"
                )
            begun.add(identity)
        return ""

    def _purge(self, sender: Address, request: bus_pb2.BufferRequest, turn: Turn) -> None:
        for stretch in request.purge:
            identity = Device.from_message(stretch.device).identity
            self._owed.purge(identity, stretch.first_sequence, stretch.last_sequence, turn)
        if request.purge:
            self._owed.void(turn)
            turn.note(
                "buffer_purged", what=request.what, stretches=len(request.purge), by=str(sender)
            )

    def _put_back(
        self, sender: Address, request: bus_pb2.BufferRequest, returned: list[Entry], turn: Turn
    ) -> None:
        put_back = 0
        for each, entry in zip(request.returned, returned, strict=True):
            is_there = self._is_registered(entry.device.identity)
            if is_there and each.unless_registered:
                continue
            # It has come back since: a registration of now must not end with one of then.
            self._owed.put_back(
                entry._replace(ends_registration=False) if is_there else entry, turn
            )
            put_back += 1
        if put_back:
            turn.note("buffer_replayed", what=request.what, entries=put_back, by=str(sender))


def _entry(each: bus_pb2.BufferRequest.Return) -> Entry:
    """As it was exported, without a number."""
    return Entry(
        0,
        Device.from_message(each.device),
        each.status,
        each.ends_registration,
        each.is_repeat,
        each.error if each.HasField("error") else None,
        each.time_unix_ms,
    )
