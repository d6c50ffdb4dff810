"""What this server has open towards each handler, and how it says so (contract R6). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from module_gateway.bus.address import Address
from module_gateway.internal_server.session import DeviceSession
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.live_digest import RunningDigest

PART_SIZE: Final = 100
"""Connections per part of a list: with texts of the default bound a part fits one batch."""


LEAST_UNANSWERED: Final = 32
"""However slow a handler is, so many requests may be outstanding: with the 150 ms of a probe (R5)
that is 200 connects per second."""

GROWTH: Final = 4
"""By so many per round of answers the number of outstanding requests grows again."""


class HandlerPeer:
    """One handler: the instances it was asked about that have not ended, and its open answers.

    `unanswered` counts requests whose answer is outstanding. From `limit` on the handler is
    saturated, until half of them are answered: devices are not read meanwhile. The limit begins
    at `bound` and follows how fast the handler answers, as the window of TCP does: a slow answer
    halves what was outstanding, answers in time make it grow. So a crowd that a handler cannot
    serve within the reply window waits in its sockets, in turn, and does not run out of time, come
    again and cost twice.
    """

    def __init__(self, address: Address, bound: int) -> None:
        self.address: Final = address
        self.is_saturated = False
        self.unanswered = 0
        self.limit = float(bound)
        self._bound = bound
        self._forgiven = 0
        self._live: dict[int, DeviceSession] = {}
        self._digest = RunningDigest()

    def __contains__(self, instance: int) -> bool:
        return instance in self._live

    def __len__(self) -> int:
        return len(self._live)

    def add(self, instance: int, session: DeviceSession) -> None:
        """Its ConnectRequest was sent, or it was taken over from another handler."""
        if instance not in self._live:
            self._live[instance] = session
            self._digest.add(instance)

    def remove(self, instance: int) -> None:
        """Its end was said, or another handler owns it now."""
        if self._live.pop(instance, None) is not None:
            self._digest.remove(instance)

    def asked(self) -> None:
        """One more answer is outstanding."""
        self.unanswered += 1
        if self.unanswered >= self.limit:
            self.is_saturated = True

    def settled(self, *, was_slow: bool) -> bool:
        """One answer less is outstanding. True when this ended the saturation."""
        self._adapt(was_slow=was_slow)
        self.unanswered -= 1
        if self.is_saturated and self.unanswered <= self.limit / 2:
            self.is_saturated = False
            return True
        return False

    def _adapt(self, *, was_slow: bool) -> None:
        if self._forgiven:
            self._forgiven -= 1  # asked before the limit was lowered: no fault of the new one
        elif was_slow:
            self._forgiven = self.unanswered - 1
            lowered = min(self.limit, self.unanswered) / 2
            self.limit = max(lowered, min(LEAST_UNANSWERED, self._bound))
        elif self.is_saturated:
            self.limit = min(self.limit + GROWTH / self.limit, self._bound)

    def digest(self) -> bus_pb2.LiveDigest:
        """Number and fingerprint of the live instances."""
        return bus_pb2.LiveDigest(count=self._digest.count, digest=self._digest.value)

    def live_connections(self) -> Iterator[bus_pb2.LiveConnections]:
        """All live instances in parts of PART_SIZE; an empty list is one empty part."""
        remaining = iter(self._live.items())
        total = len(self._live)
        for start in range(0, max(total, 1), PART_SIZE):
            part = bus_pb2.LiveConnections(is_first=start == 0, is_last=start + PART_SIZE >= total)
            for instance, session in islice(remaining, PART_SIZE):
                entry = part.connections.add(
                    instance=instance,
                    last_sequence=session.last_sequence,
                    is_decided=session.is_decided,
                )
                if session.device is not None:
                    session.device.write_to(entry.device)
            yield part
