"""One MQTT 3.1.1 connection as an `asyncio.Protocol` on our own codec.

It does what the gateway needs and no more: QoS 1, clean sessions, one subscription at the start.
What arrives goes straight to the receiver's callback; there is no task, no thread and no queue
of what was received. What one turn of the event loop produces leaves as one write.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, assert_never, cast

from module_gateway.bus import mqtt_codec
from module_gateway.bus.mqtt_codec import (
    ConnAck,
    Credentials,
    Packet,
    PacketDecoder,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Will,
)
from module_gateway.bus.stream import tls_failure
from module_gateway.bus.vigil import Finding, Vigil
from module_gateway.protocol.errors import BusError, LocalProtocolError, RemoteProtocolError

QOS: Final = 1
"""At least once per hop. With batches it costs nothing measurable (performance 3)."""

MAX_UNWRITTEN_BYTES: Final = 64 * 1024 * 1024
"""A broker that lets so much wait does not read, and is lost."""

_SUBSCRIBE_ID: Final = 1
"""The first packet of the connection that has an id."""

Settle = Callable[[BusError | None], None]
"""Called once: None, the broker has confirmed; else why nobody knows whether it arrived."""


class LeanConnection(asyncio.Protocol):
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
        *,
        max_in_flight: int = 0,
        credentials: Credentials | None = None,
        will: Will | None = None,
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
            credentials: who we are, if the broker asks.
            will: what the broker publishes when we vanish.
        """
        self._loop = asyncio.get_running_loop()
        self.lost: Final[asyncio.Future[str]] = self._loop.create_future()
        self._stream = stream
        self._transport: asyncio.Transport | None = None
        self._client_id = client_id
        self._topics = tuple(topics)
        self._on_up = on_up
        self._on_message = on_message
        self._max_in_flight = max_in_flight or mqtt_codec.PACKET_ID_MAX
        self._credentials = credentials
        self._will = will
        self._decoder = PacketDecoder()
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._last_id = _SUBSCRIBE_ID
        self._unconfirmed: dict[int, Settle] = {}
        self._waiting: deque[bytes] = deque()
        """Of the unconfirmed, those for which there is no room in flight yet."""
        self._outgoing: list[bytes] = []
        self._is_heard = self._is_said = False
        self._drained: asyncio.Future[None] | None = None

    async def attach(self, tls: ssl.SSLContext | None = None, host: str = "") -> None:
        """Give the stream to the event loop; with `tls` do the handshake first.

        `tls` decides what is verified. Against a silent peer it lasts until it is cancelled.

        Raises:
            BusError: the peer is not who it must be, refuses us, or does not speak TLS.
        """
        if tls is not None:
            try:
                await self._loop.create_connection(
                    lambda: self, sock=self._stream, ssl=tls, server_hostname=host
                )
            except (OSError, ValueError) as error:
                self._stream.close()
                raise BusError(tls_failure(error)) from error
        elif self._stream.family == socket.AF_UNIX:
            await self._loop.create_unix_connection(lambda: self, sock=self._stream)
        else:
            await self._loop.create_connection(lambda: self, sock=self._stream)

    async def open(self, keepalive_s: int) -> None:
        """Connect and subscribe; calls `on_up` when the broker has confirmed both.

        Raises:
            BusError: the broker refused or the connection broke.
        """
        if self._transport is None and not self.lost.done():
            await self.attach()
        try:
            connect = mqtt_codec.encode_connect(
                self._client_id, keepalive_s, self._credentials, self._will
            )
        except LocalProtocolError as error:
            raise BusError(f"not a valid client: {error}") from error
        self._write(connect)
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
            oldest = next(iter(self._unconfirmed), None)
            finding = vigil.tick(oldest, is_heard=self._is_heard, is_said=self._is_said)
            self._is_heard = self._is_said = False
            match finding:
                case Finding.ASK:
                    self._write(mqtt_codec.PINGREQ)
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
        confirmation: asyncio.Future[None] = self._loop.create_future()

        def settle(error: BusError | None) -> None:
            if confirmation.done():
                return  # cancelled
            if error is None:
                confirmation.set_result(None)
            else:
                confirmation.set_exception(error)

        self.send(topic, payload, settle)
        await confirmation

    def send(self, topic: str, payload: bytes, settle: Settle) -> None:
        """Send now, in the order of the calls; `settle` is called once, later.

        Raises:
            BusError: the connection is lost, or MQTT cannot carry the message.
        """
        if self.lost.done():
            raise BusError(self.lost.result())
        if len(self._unconfirmed) >= mqtt_codec.PACKET_ID_MAX:
            raise BusError("too much is unconfirmed")
        packet_id = self._last_id
        while True:
            packet_id = packet_id % mqtt_codec.PACKET_ID_MAX + 1
            if packet_id not in self._unconfirmed:
                break
        try:
            packet = mqtt_codec.encode_publish(topic, payload, packet_id)
        except LocalProtocolError as error:
            raise BusError(f"not publishable: {error}") from error
        self._last_id = packet_id
        is_in_flight = len(self._unconfirmed) - len(self._waiting) < self._max_in_flight
        self._unconfirmed[packet_id] = settle
        if is_in_flight:
            self._write(packet)
        else:
            self._waiting.append(packet)

    async def drain(self, timeout_s: float) -> None:
        """Give what was sent a moment to be confirmed."""
        if self._unconfirmed:
            self._drained = self._loop.create_future()
            await asyncio.wait((self._drained,), timeout=timeout_s)

    def lose(self, reason: str) -> None:
        """End it now, without a word to the broker. Whoever waits gets a BusError."""
        if not self.lost.done():
            if self._transport is None:
                self._stream.close()
            else:
                self._transport.abort()
            self._end(reason)

    def close(self) -> None:
        """Say DISCONNECT as far as the socket takes it, then end it."""
        if self._transport is None:
            self.lose("closed")
        elif not self.lost.done():
            self._write(mqtt_codec.DISCONNECT)
            self._flush()
            self._end("closed")
            # Not `close`, which waits for the broker; uvloop writes at the end of its turn.
            self._loop.call_soon(self._transport.abort)

    def _end(self, reason: str) -> None:
        self.lost.set_result(reason)
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        self._waiting.clear()
        self._outgoing.clear()
        for waiting in (self._up, self._drained):
            if waiting is not None and not waiting.done():
                waiting.set_exception(BusError(reason))
                waiting.exception()  # seen: nobody may be waiting for it any more
        for settle in unconfirmed.values():
            settle(BusError(reason))

    # The loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(MAX_UNWRITTEN_BYTES)
        if self.lost.done():
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.lose(tls_failure(exc) if isinstance(exc, ssl.SSLError) else "connection lost")

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.lose("the broker does not read")

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._is_heard = True
        try:
            for packet in self._decoder.packets(data):
                self._received(packet)
                if self.lost.done():
                    return
        except RemoteProtocolError as error:
            self.lose(f"the broker breaks MQTT: {error.detail}")

    def _received(self, packet: Packet) -> None:
        match packet:
            case Publish(topic, payload, packet_id, is_retained):
                if self._up.done() and not is_retained:
                    self._on_message(topic, payload)
                if packet_id:
                    self._write(mqtt_codec.encode_puback(packet_id))
            case PubAck(packet_id):
                self._confirmed(packet_id)
            case ConnAck(code):
                self._accepted(code)
            case SubAck(packet_id, codes):
                self._subscribed(packet_id, codes)
            case PingResp():
                pass
            case _:
                assert_never(packet)

    def _confirmed(self, packet_id: int) -> None:
        settle = self._unconfirmed.pop(packet_id, None)
        if settle is None:
            return
        if self._waiting:
            self._write(self._waiting.popleft())
        elif self._drained is not None and not self._unconfirmed and not self._drained.done():
            self._drained.set_result(None)
        settle(None)

    def _accepted(self, code: int) -> None:
        if code:
            said = mqtt_codec.REFUSALS.get(code, f"code {code}")
            self.lose(f"the broker refused the connection: {said}")
            return
        try:
            self._write(mqtt_codec.encode_subscribe(_SUBSCRIBE_ID, self._topics, QOS))
        except LocalProtocolError as error:
            self.lose(f"not a valid subscription: {error}")

    def _subscribed(self, packet_id: int, codes: bytes) -> None:
        if packet_id != _SUBSCRIBE_ID or len(codes) != len(self._topics):
            self.lose("the broker answered another subscription")
        elif any(code == mqtt_codec.SUBSCRIPTION_REFUSED for code in codes):
            self.lose("the broker refused the subscription")
        elif not self._up.done():
            self._up.set_result(None)
            self._on_up()

    # What leaves

    def _write(self, packet: bytes) -> None:
        """With whatever else this turn of the loop produces."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(packet)

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None and not self.lost.done():
            self._is_said = True
            self._transport.write(b"".join(self._outgoing))
            self._outgoing.clear()
