"""The network of one device, in asyncio: both directions of its connections pass a shim.

What is emulated is a byte stream: delay, jitter, rate, stalls, cuts, half-open connections and
resets. Opening a TCP connection is not held back itself; its round trip is added to the first
bytes, and a connection opened during a cut stays unknown to the far side until it is healed.
Nothing here needs root or a kernel module, and nothing outlives the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias, cast, runtime_checkable

from fleet_lab.links.conditions import CLEAR, Conditions
from fleet_lab.links.connection import Connection
from fleet_lab.links.meter import Achieved, Meter
from fleet_lab.links.shim import Rhythm, Rng

ProtocolFactory: TypeAlias = Callable[[], asyncio.BaseProtocol]
LINGERING: Final = 4
"""Connections of one device that the device has left and the far side does not know about yet;
beyond it the oldest ends at once, or a half-open link would collect a socket per attempt."""


@runtime_checkable
class Relinkable(Protocol):
    """A protocol whose running connection can get a shim later, so that it needs none before."""

    def transport_changed(self, transport: asyncio.Transport) -> None:
        """Use this transport from now on."""
        ...


class Link:
    """Keeps the conditions of one device over all its connections.

    The first conditions are the declared ones: what it achieves is measured while they hold.

    While the conditions are clear, a `Relinkable` protocol talks to the real transport itself.
    Any other one gets a thin transport in front, because its bytes must be caught later.

    Args:
        meters: (up, down); links of one fleet may share them.
    """

    __slots__ = ("_conditions", "_connections", "_declared", "_plain", "_rhythm", "_rng", "meters")

    def __init__(
        self, conditions: Conditions, rng: Rng, meters: tuple[Meter, Meter] | None = None
    ) -> None:
        self.meters = (Meter(), Meter()) if meters is None else meters
        self._conditions = self._declared = conditions
        self._rng = rng
        self._rhythm: Rhythm | None = None
        self._connections: list[Connection] = []
        self._plain: list[asyncio.Transport] = []
        if not conditions.is_passable:
            self._count_cut()

    @property
    def conditions(self) -> Conditions:
        """What holds now."""
        return self._conditions

    def wrap(self, factory: ProtocolFactory) -> ProtocolFactory:
        """A factory for `loop.create_connection` whose protocols live behind this link.

        `create_connection` then returns the shim, not the protocol of `factory`.
        """
        return lambda: self._behind(factory())

    def set(self, conditions: Conditions) -> None:
        """Other conditions, at once and for running connections too."""
        if self._conditions.is_passable and not conditions.is_passable:
            self._count_cut()
        if conditions.one_way("up").stall_every_s != self._conditions.one_way("up").stall_every_s:
            self._rhythm = None
        self._conditions = conditions
        self._plain = [real for real in self._plain if not real.is_closing()]
        if not conditions.is_clear:
            for real in self._plain:
                self._step_between(real)
            self._plain.clear()
        for connection in tuple(self._connections):
            connection.set(conditions)

    def achieved(self) -> tuple[Achieved, Achieved]:
        """What it did so far: (up, down)."""
        up, down = self.meters
        return up.achieved(), down.achieved()

    def close(self) -> None:
        """End every real connection at once: the device is gone for good."""
        for connection in tuple(self._connections):
            connection.end_now()
        for real in self._plain:
            real.abort()
        self._plain.clear()

    def _behind(self, inner: asyncio.BaseProtocol) -> asyncio.BaseProtocol:
        if self._conditions.is_clear and isinstance(inner, Relinkable):
            return _Greeter(inner, self._add_plain)
        return self._shimmed(inner, self._handshake_end_s())

    def _shimmed(self, inner: asyncio.BaseProtocol, opens_s: float) -> Connection:
        if self._rhythm is None:
            self._rhythm = Rhythm(asyncio.get_running_loop().time(), self._rng.random())
        connection = Connection(
            inner,
            self._conditions,
            declared=self._declared,
            rng=self._rng,
            rhythm=self._rhythm,
            meters=self.meters,
            on_gone=self._forget,
            opens_s=opens_s,
        )
        left = [known for known in self._connections if known.is_told]
        for oldest in left[: max(0, len(left) - LINGERING + 1)]:
            oldest.drop()
        self._connections.append(connection)
        return connection

    def _handshake_end_s(self) -> float:
        up, down = self._conditions.one_way("up"), self._conditions.one_way("down")
        return asyncio.get_running_loop().time() + up.delay_s + down.delay_s

    def _add_plain(self, real: asyncio.Transport) -> None:
        self._plain = [known for known in self._plain if not known.is_closing()]
        self._plain.append(real)

    def _step_between(self, real: asyncio.Transport) -> None:
        inner = real.get_protocol()
        connection = self._shimmed(inner, asyncio.get_running_loop().time())
        connection.join(real)
        cast("Relinkable", inner).transport_changed(connection.facade)

    def _forget(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)

    def _count_cut(self) -> None:
        for meter in self.meters:
            meter.cuts += 1


class _Greeter(asyncio.Protocol):
    """Stands in only until the connection is made, then steps aside."""

    def __init__(
        self, inner: asyncio.BaseProtocol, on_made: Callable[[asyncio.Transport], None]
    ) -> None:
        self._inner = inner
        self._on_made = on_made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        real = cast("asyncio.Transport", transport)
        real.set_protocol(self._inner)
        self._on_made(real)
        self._inner.connection_made(real)


def wrap(
    factory: ProtocolFactory, conditions: Conditions = CLEAR, rng: Rng | None = None
) -> ProtocolFactory:
    """`factory` behind fixed conditions; use `Link` where they change.

    Clear conditions give `factory` itself.
    """
    if conditions.is_clear:
        return factory
    if rng is None:
        raise ValueError("conditions need a random generator")
    return Link(conditions, rng).wrap(factory)
