"""One MQTT 3.1.1 connection on the event loop: paho's state machine on a socket of ours.

paho does the protocol, the loop does the waiting. The socket is connected before paho gets it,
so nothing blocks, no thread is involved and a cancelled attempt leaves nothing behind. What
arrives goes straight to the receiver's callback: there is no queue that could grow or overflow.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from module_gateway.bus.location import BusLocation
from module_gateway.protocol.errors import BusError
from module_gateway.runtime.log import get_logger

QOS: Final = 1
"""At least once per hop. With batches it costs nothing measurable (performance 3)."""

_TICK_S: Final = 1.0
"""How often paho looks at its keepalive, at the latest; well under any keepalive."""

_TICKS_PER_TIMEOUT: Final = 5
"""How finely the time that a confirmation takes is measured."""

_log: Final = get_logger(__name__)


async def open_socket(location: BusLocation) -> socket.socket:
    """Connect to the broker.

    Raises:
        OSError: nobody listens there.
    """
    loop = asyncio.get_running_loop()
    if location.socket is not None:
        return await _connect(socket.AF_UNIX, str(location.socket))
    failure: OSError | None = None
    for family, _, _, _, address in await loop.getaddrinfo(
        location.host, location.port, type=socket.SOCK_STREAM
    ):
        try:
            stream = await _connect(family, address)
        except OSError as error:
            failure = error
            continue
        # Without it a round trip waits 88 ms for Nagle and the delayed ACK (performance 0).
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream
    raise failure if failure is not None else OSError(f"{location.host} has no address")


async def _connect(family: int, address: Any) -> socket.socket:  # noqa: ANN401  # per family
    stream = socket.socket(family, socket.SOCK_STREAM)
    try:
        stream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(stream, address)
    except BaseException:
        stream.close()
        raise
    return stream


class _Paho(paho.Client):
    """paho's client on a socket that is connected already.

    paho has no public way to be given a socket. Its own would block, the Unix one without limit;
    the contract tests notice if a later version asks for a socket in another way.
    """

    def __init__(self, client_id: str, stream: socket.socket) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=True,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        self._stream = stream

    def _create_socket_connection(self) -> socket.socket:
        return self._stream


class MqttConnection:
    """From CONNECT to the end. Used once.

    Attributes:
        lost: gets the reason when the connection has ended; never an exception.
    """

    def __init__(
        self,
        stream: socket.socket,
        client_id: str,
        topics: Sequence[str],
        on_up: Callable[[], None],
        on_message: Callable[[str, bytes], None],
    ) -> None:
        """Prepare a connection that owns `stream` from now on.

        The callbacks must not raise. `on_message` is called for what arrives after `on_up`.
        """
        self.lost: Final[asyncio.Future[str]] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._descriptor = stream.fileno()
        self._topics = tuple(topics)
        self._on_up = on_up
        self._on_message = on_message
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._confirmations: dict[int, asyncio.Future[None]] = {}
        self._waits_to_write = False
        self._paho = _Paho(client_id, stream)
        self._paho.max_inflight_messages_set(0)  # the bus bounds what is under way
        self._paho.on_connect = self._connected
        self._paho.on_subscribe = self._subscribed
        self._paho.on_disconnect = self._disconnected
        self._paho.on_publish = self._confirmed
        self._paho.on_message = self._received

    async def open(self, keepalive_s: int) -> None:
        """Connect and subscribe; calls `on_up` when the broker has confirmed both.

        Raises:
            BusError: the broker refused or the connection broke.
        """
        self._loop.add_reader(self._descriptor, self._read)
        # Host and port only fill the fields that paho checks: the socket is connected.
        self._advance(lambda: self._paho.connect("bus", keepalive=keepalive_s))
        await self._up

    async def live(self, confirm_timeout_s: float) -> str:
        """Keep the connection alive until it is lost; returns the reason.

        It is lost, too, when a message waits `confirm_timeout_s` for its confirmation. That time
        is counted in ticks: while this process stands still itself it does not pass.
        """
        tick_s = min(_TICK_S, confirm_timeout_s / _TICKS_PER_TIMEOUT)
        oldest: int | None = None
        waited_ticks = 0
        while not self.lost.done():
            await asyncio.wait((self.lost,), timeout=tick_s)
            self._advance(self._paho.loop_misc)
            previous, oldest = oldest, next(iter(self._confirmations), None)
            waited_ticks = waited_ticks + 1 if oldest is not None and oldest == previous else 0
            if waited_ticks * tick_s >= confirm_timeout_s:
                self.lose(f"no confirmation within {confirm_timeout_s} s")
        return self.lost.result()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Send now, in the order of the calls, and wait for the broker's confirmation.

        Raises:
            BusError: the connection is or gets lost, or MQTT cannot carry the message.
        """
        if self.lost.done():
            raise BusError(self.lost.result())
        try:
            sent = self._paho.publish(topic, payload, QOS)
        except ValueError as error:
            raise BusError(f"not publishable: {error}") from error
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.lose(f"could not publish: {paho.error_string(sent.rc)}")
            raise BusError(self.lost.result())
        self._watch_writable()
        confirmation = self._confirmations[sent.mid] = self._loop.create_future()
        try:
            await confirmation
        finally:
            self._confirmations.pop(sent.mid, None)

    def lose(self, reason: str) -> None:
        """End it now, without a word to the broker. Whoever waits gets a BusError."""
        if self.lost.done():
            return
        self.lost.set_result(reason)
        self._unwatch()
        self._stream.close()
        for waiting in (self._up, *self._confirmations.values()):
            if not waiting.done():
                waiting.set_exception(BusError(reason))
        if not self._up.cancelled():
            self._up.exception()  # seen: nobody may be waiting for it any more

    def close(self) -> None:
        """Say DISCONNECT as far as the socket takes it, then end it."""
        if not self.lost.done():
            with suppress(OSError):
                self._paho.disconnect()
            self.lose("closed")

    # The loop calls

    def _read(self) -> None:
        self._advance(self._paho.loop_read)

    def _write(self) -> None:
        self._advance(self._paho.loop_write)

    def _advance(self, step: Callable[[], MQTTErrorCode]) -> None:
        """One step of paho's state machine; whatever goes wrong in it ends this connection."""
        if self.lost.done():
            return
        try:
            code = step()
        except Exception as error:  # noqa: BLE001  # the port: paho raises many kinds on bad bytes
            _log.warning("bus_connection_failed", error=repr(error))
            self.lose(f"paho failed: {type(error).__name__}")
            return
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.lose(paho.error_string(code))
        else:
            self._watch_writable()

    def _watch_writable(self) -> None:
        """Follow paho's wish: it writes at once by itself as far as the socket takes it."""
        wanted = not self.lost.done() and self._paho.want_write()
        if wanted == self._waits_to_write:
            return
        self._waits_to_write = wanted
        if wanted:
            self._loop.add_writer(self._descriptor, self._write)
        else:
            self._loop.remove_writer(self._descriptor)

    def _unwatch(self) -> None:
        # Before the descriptor is closed: its number may belong to another socket right after.
        self._loop.remove_reader(self._descriptor)
        if self._waits_to_write:
            self._waits_to_write = False
            self._loop.remove_writer(self._descriptor)

    # paho calls, from within a step

    def _connected(
        self,
        _client: paho.Client,
        _context: object,
        _flags: paho.ConnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if code.is_failure:
            self.lose(f"the broker refused the connection: {code}")
        else:
            self._paho.subscribe([(topic, QOS) for topic in self._topics])

    def _subscribed(
        self,
        _client: paho.Client,
        _context: object,
        _mid: int,
        codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if any(code.is_failure for code in codes):
            self.lose("the broker refused the subscription")
        elif not self._up.done():
            self._up.set_result(None)
            self._on_up()

    def _disconnected(
        self,
        _client: paho.Client,
        _context: object,
        _flags: paho.DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self.lose(f"connection lost: {code}")

    def _confirmed(
        self,
        _client: paho.Client,
        _context: object,
        mid: int,
        _code: ReasonCode,
        _properties: Properties,
    ) -> None:
        confirmation = self._confirmations.get(mid)
        if confirmation is not None and not confirmation.done():
            confirmation.set_result(None)

    def _received(self, _client: paho.Client, _context: object, message: paho.MQTTMessage) -> None:
        if self._up.done() and not self.lost.done():
            self._on_message(message.topic, bytes(message.payload))
