"""What waits to be sent: per receiver, bounded, taken in turns. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from module_gateway.bus import batch
from module_gateway.bus.address import Address
from module_gateway.protocol import bus_pb2


@dataclass(eq=False, slots=True)
class _Queue:
    """Of one receiver. The counts include the batch that is under way."""

    receiver: Address
    entries: deque[bytes] = field(default_factory=deque)
    messages: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Parcel:
    """One batch on its way. It counts as unsent until it is settled."""

    receiver: Address
    payload: bytes
    messages: int
    size_bytes: int
    queue: _Queue = field(repr=False)


class Unsent:
    """All queues of one sender."""

    def __init__(
        self, sender: Address, batch_bytes: int, max_messages: int, max_bytes: int
    ) -> None:
        """Bound each receiver's queue to `max_messages` and `max_bytes`, each batch to a size."""
        self._header = batch.encode_header(sender)
        self._batch_bytes = batch_bytes
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._queues: dict[Address, _Queue] = {}
        self._turns: deque[_Queue] = deque()

    def __bool__(self) -> bool:
        """Whether something can be taken."""
        return bool(self._turns)

    def put(self, receiver: Address, message: bus_pb2.Message) -> bool:
        """Append a message, which is read now; False when the receiver's queue is full."""
        entry = batch.encode_entry(message)
        queue = self._queues.get(receiver)
        if queue is None:
            queue = _Queue(receiver)
        if queue.messages >= self._max_messages or queue.size_bytes + len(entry) > self._max_bytes:
            return False
        if not queue.entries:
            self._queues[receiver] = queue
            self._turns.append(queue)
        queue.entries.append(entry)
        queue.messages += 1
        queue.size_bytes += len(entry)
        return True

    def take(self) -> Parcel:
        """The next batch: of the receiver whose turn it is, as large as allowed.

        Raises:
            IndexError: nothing waits.
        """
        queue = self._turns.popleft()
        payload, messages = batch.pack(self._header, queue.entries, self._batch_bytes)
        if queue.entries:
            self._turns.append(queue)
        size_bytes = len(payload) - len(self._header)
        return Parcel(queue.receiver, payload, messages, size_bytes, queue)

    def settle(self, parcel: Parcel) -> bool:
        """This batch is no longer under way; False when its queue was dropped meanwhile."""
        queue = parcel.queue
        queue.messages -= parcel.messages
        queue.size_bytes -= parcel.size_bytes
        if self._queues.get(queue.receiver) is not queue:
            return False
        if not queue.messages:
            del self._queues[queue.receiver]
        return True

    def drop(self, receiver: Address) -> int:
        """Forget what waits for a receiver or is under way to it; returns how many messages."""
        queue = self._queues.pop(receiver, None)
        if queue is None:
            return 0
        if queue.entries:
            self._turns.remove(queue)
            queue.entries.clear()
        return queue.messages

    def drop_all(self) -> int:
        """Forget everything; returns how many messages."""
        return sum(self.drop(receiver) for receiver in tuple(self._queues))

    def size(self, receiver: Address) -> tuple[int, int]:
        """Messages and bytes that wait or are under way."""
        queue = self._queues.get(receiver)
        return (0, 0) if queue is None else (queue.messages, queue.size_bytes)

    def one(self, message: bus_pb2.Message) -> bytes:
        """A batch of a single message, past all queues."""
        return batch.pack(self._header, deque((batch.encode_entry(message),)), 0)[0]
