"""What all device connections share: their number, the receive budget and one timer."""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import Final

from module_gateway.internal_server import events as ev
from module_gateway.internal_server import metrics
from module_gateway.internal_server.connection import DeviceConnection
from module_gateway.internal_server.deadlines import Deadlines
from module_gateway.internal_server.session import State
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason

MIN_PAUSE_S: Final = 0.01
"""Between two looks at the deadlines: bounds what thousands of them per second cost."""

LATE_S: Final = 0.05
CATCH_UP_TURNS: Final = 5
CATCH_UP_TURN_S: Final = 0.002
"""A timer that fires LATE_S later than asked says that the process stood still. What arrived
meanwhile waits in the sockets and is read first (contract R3): the look is put off, once, by
CATCH_UP_TURNS of the loop. By turns, because a process that stood still once may do so again at
once, and time alone would pass without a read."""


class SharedLimits:
    """Counts connections and their unread bytes, and looks after their deadlines."""

    def __init__(
        self, max_connections: int, receive_budget_bytes: int, reply_window_s: float
    ) -> None:
        self.connections: Final[set[DeviceConnection]] = set()
        self.max_connections: Final = max_connections
        self._receive_budget_bytes = receive_budget_bytes
        self._buffered_bytes = 0
        self._deadlines: Deadlines[DeviceConnection] = Deadlines(reply_window_s)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._turns_left = 0

    def enter(self, connection: DeviceConnection) -> bool:
        """Count a new connection; False when it is one too many. It must `leave` either way."""
        self.connections.add(connection)
        metrics.ACCEPTED.inc()
        metrics.CONNECTIONS.set(len(self.connections))
        return len(self.connections) <= self.max_connections

    def leave(self, connection: DeviceConnection) -> None:
        """Its socket is gone."""
        self.connections.discard(connection)
        self._buffered_bytes -= connection.buffered_bytes
        connection.buffered_bytes = 0
        metrics.CONNECTIONS.set(len(self.connections))
        metrics.BUFFERED_BYTES.set(self._buffered_bytes)

    def account(self, connection: DeviceConnection) -> None:
        """Take note of what it has buffered; the largest goes when all together have too much."""
        buffered_bytes = connection.session.buffered_bytes
        if buffered_bytes == connection.buffered_bytes:
            return
        self._buffered_bytes += buffered_bytes - connection.buffered_bytes
        connection.buffered_bytes = buffered_bytes
        metrics.BUFFERED_BYTES.set(self._buffered_bytes)
        if self._buffered_bytes > self._receive_budget_bytes:
            # One is enough: it holds at least as much as has just been added.
            largest = max(self.connections, key=lambda one: one.buffered_bytes)
            largest.take(ev.CloseOrdered(Reason.BUFFER_BUDGET, bus_pb2.PROTOCOL_VIOLATION))

    def expect_answer(self, connection: DeviceConnection, now: float) -> None:
        """It has just begun to wait."""
        if self._deadlines.expect_answer(connection, now):
            self._arm()

    def watch(self, connection: DeviceConnection) -> None:
        """Its deadline may have moved."""
        if not connection.session.is_waiting and self._deadlines.watch(connection):
            self._arm()

    def stop(self) -> None:
        """Look after nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        due = self._deadlines.next_due()
        if due >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(due - time.monotonic(), MIN_PAUSE_S)
        self._timer_at = time.monotonic() + delay_s
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        is_late = now - self._timer_at > LATE_S
        self._timer, self._timer_at = None, inf
        if self._turns_left:
            self._turns_left -= 1
        elif is_late:
            self._turns_left = CATCH_UP_TURNS
        if self._turns_left:
            self._timer_at = now + CATCH_UP_TURN_S
            self._timer = asyncio.get_running_loop().call_later(CATCH_UP_TURN_S, self._look)
            return
        for connection in self._deadlines.take_due(now):
            if connection.session.state is not State.CLOSED:
                connection.take(ev.DeadlineChecked())
        self._arm()
