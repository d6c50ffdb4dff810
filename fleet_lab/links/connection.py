"""One TCP connection with a shim in each direction, between a transport and a device's protocol."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from fleet_lab.links.conditions import Conditions
from fleet_lab.links.meter import Meter
from fleet_lab.links.pipe import Pipe
from fleet_lab.links.shim import Ended, Item, Rhythm, Rng, Shim

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 seconds: close sends RST (socket(7))."""


class Connection(asyncio.Protocol):
    """The shimmed connection: the protocol of the real transport, `facade` for the inner one.

    The inner protocol is told of its end exactly once. The real socket may live on while the
    news of a close is under way or held by a cut; `on_gone` is called when it is gone.
    """

    __slots__ = (
        "_conditions", "_has_passed", "_is_paused", "_look_timer", "_loop", "_on_gone",
        "_reset_timer", "_rng", "down", "facade", "inner", "is_told", "real", "up",
    )  # fmt: skip

    def __init__(
        self,
        inner: asyncio.BaseProtocol,
        conditions: Conditions,
        *,
        declared: Conditions,
        rng: Rng,
        rhythm: Rhythm,
        meters: tuple[Meter, Meter],
        on_gone: Callable[[Connection], None],
        opens_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        up, down = (
            Shim(conditions.one_way(name), rng, meter, rhythm, opens_s, declared.one_way(name))
            for name, meter in zip(("up", "down"), meters, strict=True)
        )
        self.inner = cast("asyncio.Protocol", inner)
        self.facade = ShimmedTransport(self)
        self.real: asyncio.Transport | None = None
        self.is_told = False
        """Whether the inner protocol knows that the connection is over."""
        self._loop = loop
        self._conditions = conditions
        self._rng = rng
        self._on_gone = on_gone
        self.up = Pipe(loop, up, self._pass_up)
        self.down = Pipe(loop, down, self._pass_down)
        self._has_passed = conditions.is_passable
        """Whether the far side can know of this connection: not one made during a cut."""
        self._is_paused = False
        self._look_timer: asyncio.TimerHandle | None = None
        self._reset_timer: asyncio.TimerHandle | None = None

    # The real transport's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.attach(transport)
        self.inner.connection_made(self.facade)

    def attach(self, transport: asyncio.BaseTransport) -> None:
        """Take the real transport; the inner protocol is not told."""
        self.real = cast("asyncio.Transport", transport)
        self._set_reset_timer()

    def join(self, transport: asyncio.BaseTransport) -> None:
        """Step between a transport and the inner protocol while the connection runs."""
        self._has_passed = True
        self.attach(transport)
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self._bring(bytes(data))

    def eof_received(self) -> bool:
        self._bring(Ended(is_whole=False))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.real = None
        self.up.stop()
        self.up.shim.clear()
        if self.is_told:
            self._gone()
        else:
            self._bring(Ended(exc))

    def pause_writing(self) -> None:
        self.up.shim.is_blocked = True

    def resume_writing(self) -> None:
        self.up.shim.unblock(self._loop.time())
        self.up.pump()
        self._balance()

    # What the facade and the link ask for

    def write(self, data: bytes) -> None:
        """Bytes from the inner protocol."""
        if self.is_told or self.real is None or not data:
            return
        shim = self.up.shim
        if shim.way.is_clear and shim.is_idle and not shim.is_blocked:
            self.real.write(data)
            return
        self.up.put(data)
        if not self._is_paused and shim.is_full(self._loop.time()):
            self._balance()

    def end(self, *, is_orderly: bool) -> None:
        """The inner protocol closes or aborts."""
        if self.is_told:
            return
        self.is_told = True
        self.down.stop()
        self.down.shim.clear()
        self._loop.call_soon(self.inner.connection_lost, None)
        if self.real is None:
            self._gone()
        elif not self._has_passed:
            self.drop()
        else:
            if not is_orderly:
                self.up.shim.clear()
            self.up.put(Ended(None if is_orderly else ConnectionAbortedError()))

    def write_eof(self) -> None:
        """The inner protocol has no more to say."""
        self.up.put(Ended(is_whole=False))

    def set_reading(self, *, is_reading: bool) -> None:
        """The inner protocol wants bytes or none."""
        if is_reading:
            self.down.shim.unblock(self._loop.time())
            self.down.pump()
            self._balance()
        else:
            self.down.shim.is_blocked = True

    def set(self, conditions: Conditions) -> None:
        """Other conditions from now on; the end of half-open is a reset if something vanished."""
        was_half_open = self.up.shim.way.is_half_open or self.down.shim.way.is_half_open
        self._conditions = conditions
        self._has_passed = self._has_passed or conditions.is_passable
        now = self._loop.time()
        for name, pipe in (("up", self.up), ("down", self.down)):
            pipe.shim.set(conditions.one_way(name), now)
        self._set_reset_timer()
        is_half_open = self.up.shim.way.is_half_open or self.down.shim.way.is_half_open
        has_vanished = self.up.shim.has_vanished or self.down.shim.has_vanished
        if was_half_open and not is_half_open and has_vanished:
            self.reset()
            return
        self.up.pump()
        self.down.pump()
        self._balance()

    def reset(self) -> None:
        """End it for both sides at once, with a reset on the wire."""
        self.up.shim.meter.resets += 1
        self.drop()
        self._tell(ConnectionResetError("the link was reset"))

    def end_now(self) -> None:
        """End it for both sides at once, because nobody needs it any more."""
        self.drop()
        self._tell(None)

    def drop(self) -> None:
        """Take the real socket away at once; the inner protocol is not told."""
        self._stop_timers()
        if self.real is not None:
            sock = self.real.get_extra_info("socket")
            with contextlib.suppress(OSError):
                if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.real.abort()

    # What arrives

    def _pass_up(self, item: Item) -> None:
        if self.real is None:
            return
        if isinstance(item, bytes):
            self.real.write(item)
            if self._is_paused:
                self._balance()
        elif item.error is not None:
            self.real.abort()
        elif item.is_whole:
            self.real.close()
        elif self.real.can_write_eof():
            self.real.write_eof()

    def _bring(self, item: Item) -> None:
        if self.is_told:
            return
        self.down.put(item)
        if self.down.shim.is_full(self._loop.time()):
            self._balance()

    def _pass_down(self, item: Item) -> None:
        if self.is_told:
            return
        if isinstance(item, bytes):
            self.inner.data_received(item)
        elif item.is_whole:
            self._tell(item.error)
        elif not self.inner.eof_received():
            self.end(is_orderly=True)
        if self.real is not None and not self.real.is_reading():
            self._balance()

    def _tell(self, error: Exception | None) -> None:
        if not self.is_told:
            self.is_told = True
            self.inner.connection_lost(error)
        if self.real is None:
            self._gone()

    def _gone(self) -> None:
        self._stop_timers()
        self._on_gone(self)

    # Pressure

    def _balance(self) -> None:
        """Pause or resume both writers by what the shims have room for."""
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        now = self._loop.time()
        looks_s = [self._balance_writing(now), self._balance_reading(now)]
        wanted_s = [look_s for look_s in looks_s if look_s is not None]
        if wanted_s:
            self._look_timer = self._loop.call_at(min(wanted_s), self._balance)

    def _balance_writing(self, now: float) -> float | None:
        if self.is_told:
            return None
        if not self._is_paused:
            if not self.up.shim.is_full(now):
                return None
            self._is_paused = True
            self.inner.pause_writing()
        room_s = self.up.shim.room_s(now)
        if room_s is None or room_s > now:
            return room_s
        self._is_paused = False
        self.inner.resume_writing()
        return None

    def _balance_reading(self, now: float) -> float | None:
        if self.real is None or self.real.is_closing():
            return None
        is_reading = self.real.is_reading()
        if is_reading and not self.down.shim.is_full(now):
            return None
        room_s = self.down.shim.room_s(now)
        if room_s is not None and room_s <= now:
            if not is_reading:
                self.real.resume_reading()
            return None
        if is_reading:
            self.real.pause_reading()
        return room_s

    def _set_reset_timer(self) -> None:
        if self._reset_timer is not None:
            self._reset_timer.cancel()
            self._reset_timer = None
        every_s = self._conditions.reset_every_s
        if every_s is not None and self.real is not None:
            life_s = every_s * (0.5 + self._rng.random())
            self._reset_timer = self._loop.call_later(life_s, self.reset)

    def _stop_timers(self) -> None:
        self.up.stop()
        self.down.stop()
        for timer in (self._look_timer, self._reset_timer):
            if timer is not None:
                timer.cancel()


class ShimmedTransport(asyncio.Transport):
    """What the inner protocol holds instead of the real transport."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._connection.write(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self._connection.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self._connection.end(is_orderly=True)

    def abort(self) -> None:
        self._connection.end(is_orderly=False)

    def is_closing(self) -> bool:
        return self._connection.is_told

    def pause_reading(self) -> None:
        self._connection.set_reading(is_reading=False)

    def resume_reading(self) -> None:
        self._connection.set_reading(is_reading=True)

    def is_reading(self) -> bool:
        return not self._connection.is_told and not self._connection.down.shim.is_blocked

    def get_write_buffer_size(self) -> int:
        real = self._connection.real
        below = real.get_write_buffer_size() if real is not None else 0
        return self._connection.up.shim.held_bytes + below

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The declared queue decides; the limits hold for what is below it."""
        if self._connection.real is not None:
            self._connection.real.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  # as asyncio's
        real = self._connection.real
        return default if real is None else real.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._connection.inner = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._connection.inner
