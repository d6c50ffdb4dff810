"""One MQTT 3.1.1 connection on the event loop: paho's state machine on a socket of ours.

paho does the protocol, the loop does the waiting. The socket is connected, and secured if it is
to be, before paho gets it (`stream`), so nothing blocks, no thread is involved and a cancelled
attempt leaves nothing behind. What
arrives goes straight to the receiver's callback: there is no queue that could grow or overflow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from module_gateway.bus.stream import Stream, TlsStream
from module_gateway.bus.vigil import Finding, Vigil
from module_gateway.protocol.errors import BusError
from module_gateway.runtime.log import get_logger

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike  # exists for type checkers only

QOS: Final = 1
"""At least once per hop. With batches it costs nothing measurable (performance 3)."""

NOTHING_SAID: Final = ("Success", "Normal disconnection", "Unspecified error")
"""What paho calls an end for which the broker gave no reason."""

_log: Final = get_logger(__name__)


class _Paho(paho.Client):
    """paho's client on a socket that is connected already.

    paho has no public way to be given a socket. Its own would block, the Unix one without limit;
    the contract tests notice if a later version asks for a socket in another way. Nor can it be
    made to ping earlier than the keep-alive that it tells the broker.
    """

    def __init__(self, client_id: str, stream: Stream) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=True,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        self._stream = stream

    def _create_socket(self) -> SocketLike:
        return self._stream

    def ping(self) -> MQTTErrorCode:
        return self._send_pingreq()


class MqttConnection:
    """From CONNECT to the end. Used once.

    Attributes:
        lost: gets the reason when the connection has ended; never an exception.
    """

    def __init__(
        self,
        stream: Stream,
        client_id: str,
        topics: Sequence[str],
        on_up: Callable[[], None],
        on_message: Callable[[str, bytes], None],
        *,
        max_in_flight: int = 0,
    ) -> None:
        """Prepare a connection that owns `stream` from now on.

        The callbacks must not raise. `on_message` is called for what arrives after `on_up`, but
        not for retained messages: they are of a time before this connection (contract R17).

        Args:
            stream: connected.
            client_id: as the broker will know us.
            topics: to subscribe to.
            on_up: the broker has confirmed connection and subscription.
            on_message: gets topic and payload.
            max_in_flight: further messages wait in here; 0: the caller bounds what is under way.
        """
        self.lost: Final[asyncio.Future[str]] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._tls = stream if isinstance(stream, TlsStream) else None
        self._descriptor = stream.fileno()
        self._topics = tuple(topics)
        self._on_up = on_up
        self._on_message = on_message
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._confirmations: dict[int, asyncio.Future[None]] = {}
        self._waits_to_write = False
        self._reads_on: asyncio.Handle | None = None
        self._is_heard = False
        self._paho = _Paho(client_id, stream)
        self._paho.max_inflight_messages_set(max_in_flight)
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

    @property
    def is_up(self) -> bool:
        """Whether the broker has confirmed connection and subscription, and it is not lost."""
        return self._up.done() and not self.lost.done()

    async def live(self, confirm_timeout_s: float, ask_after_s: float) -> str:
        """Keep the connection alive until it is lost; returns the reason.

        It is lost, too, when a message waits `confirm_timeout_s` for its confirmation, and when
        a broker that was silent for `ask_after_s` gives no sign of life within as long again.
        While this process stands still itself these times do not pass.
        """
        vigil = Vigil(confirm_timeout_s, ask_after_s)
        while not self.lost.done():
            await asyncio.wait((self.lost,), timeout=vigil.tick_s)
            self._advance(self._paho.loop_misc)
            oldest = next(iter(self._confirmations), None)
            # What we say often enough is paho's business.
            finding = vigil.tick(oldest, is_heard=self._is_heard, is_said=True)
            self._is_heard = False
            match finding:
                case Finding.ASK:
                    self._advance(self._paho.ping)
                case Finding.SILENT:
                    self.lose("the broker is silent")
                case Finding.UNCONFIRMED:
                    self.lose(f"no confirmation within {confirm_timeout_s} s")
                case Finding.FINE:
                    pass
        return self.lost.result()

    async def publish(self, topic: str, payload: bytes) -> None:
        """`send`, and wait for the broker's confirmation.

        Raises:
            BusError: the connection is or gets lost, or MQTT cannot carry the message.
        """
        await self.send(topic, payload)

    def send(self, topic: str, payload: bytes) -> asyncio.Future[None]:
        """Send now, in the order of the calls.

        Returns:
            Done when the broker has confirmed it; a BusError when the connection was lost before.

        Raises:
            BusError: the connection is lost, or MQTT cannot carry the message.
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
        self._follow()
        confirmation = self._confirmations[sent.mid] = self._loop.create_future()
        return confirmation

    async def drain(self, timeout_s: float) -> None:
        """Give what was sent a moment to be confirmed."""
        if self._confirmations:
            await asyncio.wait(tuple(self._confirmations.values()), timeout=timeout_s)

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
                waiting.exception()  # seen: nobody may be waiting for it any more
        self._confirmations.clear()

    def close(self) -> None:
        """Say DISCONNECT as far as the socket takes it, then end it."""
        if not self.lost.done():
            with suppress(OSError):
                self._paho.disconnect()
            self.lose("closed")

    # The loop calls

    def _read(self) -> None:
        self._is_heard = True
        self._advance(self._paho.loop_read)
        if self._tls is not None and self._tls.sends_when_readable:
            self._advance(self._paho.loop_write)

    def _read_on(self) -> None:
        self._reads_on = None
        self._read()

    def _write(self) -> None:
        if self._tls is not None and self._tls.receives_when_writable:
            self._advance(self._paho.loop_read)
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
            self._follow()

    def _follow(self) -> None:
        """Follow paho's wish: it writes at once by itself as far as the socket takes it.

        With TLS the socket may have to wait for the other direction, and does not become readable
        for what was deciphered with an earlier part.
        """
        if self.lost.done():
            return
        wanted, tls = self._paho.want_write(), self._tls
        if tls is not None:
            wanted = tls.receives_when_writable or (wanted and not tls.sends_when_readable)
            if self._reads_on is None and tls.has_unread:
                self._reads_on = self._loop.call_soon(self._read_on)
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
        if self._reads_on is not None:
            self._reads_on.cancel()

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
        failure = "" if self._tls is None else self._tls.failure
        said = "" if str(code) in NOTHING_SAID else f": {code}"
        self.lose(failure or f"connection lost{said}")

    def _confirmed(
        self,
        _client: paho.Client,
        _context: object,
        mid: int,
        _code: ReasonCode,
        _properties: Properties,
    ) -> None:
        confirmation = self._confirmations.pop(mid, None)
        if confirmation is not None and not confirmation.done():
            confirmation.set_result(None)

    def _received(self, _client: paho.Client, _context: object, message: paho.MQTTMessage) -> None:
        if self._up.done() and not self.lost.done() and not message.retain:
            self._on_message(message.topic, bytes(message.payload))
