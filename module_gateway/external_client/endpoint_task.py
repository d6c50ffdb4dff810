"""The shell of one endpoint: its broker connection, its timer, and the way to its pure core."""

from __future__ import annotations

import asyncio
import math
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from module_gateway.bus.address import Address
from module_gateway.bus.link import Link
from module_gateway.external_client import metrics
from module_gateway.external_client.backoff import Backoff, Pause
from module_gateway.external_client.effects import (
    Confined,
    Count,
    Effect,
    Publish,
    SessionEnded,
    SessionUp,
    Stopped,
    Superseded,
    Tell,
)
from module_gateway.external_client.endpoint import Endpoint
from module_gateway.external_client.events import (
    BrokerDown,
    BrokerUp,
    Event,
    Heard,
    Noticed,
    StopAsked,
    Tick,
)
from module_gateway.external_client.tls import make_context
from module_gateway.external_client.upstream import Target, Upstream, connect
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import (
    BusError,
    ConfigError,
    GatewayError,
    Reason,
    RemoteProtocolError,
)
from module_gateway.protocol.external import (
    ClientMessage,
    CommandResponse,
    CommandResponseType,
    Connect,
    DeviceState,
    Status,
    decode_server_message,
    encode,
)
from module_gateway.runtime import settings as settings_module
from module_gateway.runtime.log import clean_text, get_logger

LEAVE_LIMIT_S: Final = 1.0
"""After the session is closed, for the rest: within 3 s of a stop all is over (case 38)."""

CHEAP_MIN_S: Final = 0.1
CHEAP_MAX_S: Final = 0.3
"""Between attempts to reach the broker of a control plane that listens, as long as each is refused
at once: a packet each way, and recovery shall take 0.5 s (decisions)."""

_CHEAP: Final = (ConnectionRefusedError, ExceptionGroup)
"""Behind `BusError`: nobody listens on the port; and a connection that was up is lost. Silence and
refusals of the broker itself keep the configured back-off."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Which endpoint of the configuration this is."""

    index: int
    settings: settings_module.Endpoint

    @property
    def where(self) -> str:
        """For messages to the operator."""
        return f"external-connection.endpoints[{self.index}]"


class EndpointTask:
    """Runs one endpoint until it is stopped. Nothing here waits for another endpoint (E18)."""

    def __init__(
        self,
        place: Place,
        endpoint: Endpoint,
        target: Target,
        link: Link,
        backoff: Backoff,
        on_failure: Callable[[GatewayError | Exception], None],
        health_changed: Callable[[str, bool, str], None],
    ) -> None:
        """Prepare the endpoint; `broker_up` is set while connected, `given_up` without TLS files.

        `on_failure` ends the process: a defect, or a newer client that has our lease.
        """
        self.endpoint: Final = endpoint
        self.broker_up: Final = asyncio.Event()
        self.given_up: Final = asyncio.Event()
        self._place = place
        self._target = target
        self._link = link
        self._backoff = backoff
        self._cheap = Pause(CHEAP_MIN_S, CHEAP_MAX_S, random.random)
        self._on_failure = on_failure
        self._health_changed = health_changed
        self._label = str(place.index)
        self._log = _log.bind(endpoint=place.index, broker=f"{target.host}:{target.port}")
        self._upstream: Upstream | None = None
        self._heard: list[Event] = []
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf
        self._statuses = [
            metrics.STATUSES.labels(self._label, state.name.lower()) for state in DeviceState
        ]
        self._show_gauges()
        self._stopped = asyncio.Event()
        self._is_stopping = False
        self._last_failure = ""

    # The core

    def feed(self, event: Event) -> None:
        """Give an event to the core, behind what was heard before it, and do what it asks."""
        self._heard.append(event)
        self._take_heard()

    def _take_heard(self) -> None:
        events, self._heard = self._heard, []
        if not events:
            return
        try:
            unix_ms = time.time_ns() // 1_000_000
            for effect in self.endpoint.step(events, time.monotonic(), unix_ms):
                self._do(effect)
            self._set_timer()
        except Exception as error:  # noqa: BLE001  # a named supervisor edge: a defect ends the process
            self._on_failure(error)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Publish(message):
                self._publish(message)
            case Tell(peer, message):
                self._link.send(Address(int(bus_pb2.MODULE_HANDLER), peer), message)
            case Count(reason, amount):
                metrics.IGNORED.labels(self._label, reason).inc(amount)
            case SessionUp(session, devices):
                metrics.SESSION_UP.labels(self._label).set(1)
                self._log.info("session_up", session=session, devices=devices)
            case SessionEnded():
                self._tell_end(effect)
            case Confined(identity):
                self._log.warning("device_quarantined", device=clean_text(identity))
            case Superseded(detail):
                text = f"{self._place.where}: another external client has taken over"
                self._on_failure(GatewayError(f"{text} ({clean_text(detail)})"))
            case Stopped():
                self._stopped.set()
            case _:
                assert_never(effect)

    def _tell_end(self, ended: SessionEnded) -> None:
        metrics.SESSION_UP.labels(self._label).set(0)
        metrics.RECONNECTS.labels(self._label, ended.reason).inc()
        retry_in_s = None if ended.retry_in_s is None else round(ended.retry_in_s, 3)
        tell = self._log.info if ended.was_up else self._log.debug
        if not ended.was_up and ended.reason != self._last_failure:
            tell = self._log.info  # the first attempt that fails this way
        self._last_failure = "" if ended.was_up else ended.reason
        tell(
            "session_ended",
            session=ended.session,
            reason=ended.reason,
            was_up=ended.was_up,
            retry_in_s=retry_in_s,
        )

    def _publish(self, message: ClientMessage) -> None:
        match message:
            case Status():
                self._statuses[message.state].inc()
            case CommandResponse():
                response = CommandResponseType(message.response).name.lower()
                metrics.COMMAND_RESPONSES.labels(self._label, response).inc()
            case Connect():
                metrics.CONNECTS.labels(self._label).inc()
        if self._upstream is not None:
            self._upstream.publish(encode(message))

    def _set_timer(self) -> None:
        """Wake up at the deadline, or earlier: most deadlines move on before they come."""
        deadline = self.endpoint.next_deadline()
        if deadline is None or deadline >= self._wakes_at or self._stopped.is_set():
            return
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0.0, deadline - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)
        self._wakes_at = deadline

    def _wake(self) -> None:
        self._timer, self._wakes_at = None, math.inf
        self.feed(Tick())

    def _show_gauges(self) -> None:
        """Sizes are looked up when somebody asks, not told with every status."""
        endpoint, backlog = self.endpoint, self.endpoint.backlog
        for gauge, size in (
            (
                metrics.IN_FLIGHT,
                lambda: endpoint.session.sender.in_flight if endpoint.session else 0,
            ),
            (metrics.REPLAY_HELD, lambda: backlog.replay.held),
            (metrics.FOLDED_DEVICES, lambda: len(backlog.folds)),
            (metrics.QUARANTINED, lambda: len(endpoint.quarantine)),
        ):
            gauge.labels(self._label).set_function(size)

    # The broker

    async def run(self) -> None:
        """Stay connected until `stop`. Ends early when TLS cannot be had any more."""
        try:
            while not self._stopped.is_set():
                try:
                    tls = make_context(self._place.settings, self._place.where)
                    await self._serve(tls)
                except ConfigError as error:
                    # Never plaintext instead; the other endpoints go on (decisions: TLS).
                    metrics.IGNORED.labels(self._label, Reason.TLS_INCOMPLETE).inc()
                    self._log.error("endpoint_stopped", reason=str(error))
                    self._health_changed(f"endpoint_{self._label}", False, str(error))
                    self.given_up.set()
                    await self._stopped.wait()
                except BusError as error:
                    self._tell_failure(str(error))
                    await self._wait(self._pause_after(error))
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def stop(self) -> None:
        """Say DISCONNECT for every device, then end (E23)."""
        if not self._is_stopping:
            self._is_stopping = True
            self.feed(StopAsked())

    async def _serve(self, tls: ssl.SSLContext | None) -> None:
        stopped = asyncio.ensure_future(self._stopped.wait())
        serving = asyncio.ensure_future(self._serve_connection(tls))
        try:
            await asyncio.wait((stopped, serving), return_when=asyncio.FIRST_COMPLETED)
            if self._upstream is None:
                serving.cancel()  # still trying to connect
            await asyncio.wait((serving,), timeout=LEAVE_LIMIT_S)
        finally:
            stopped.cancel()
            serving.cancel()
        if serving.done() and not serving.cancelled():
            serving.result()

    async def _serve_connection(self, tls: ssl.SSLContext | None) -> None:
        try:
            async with connect(self._target, tls, self._received) as self._upstream:
                self._backoff.reset()
                self._last_failure = ""
                self._log.info("broker_up")
                metrics.BROKER_UP.labels(self._label).set(1)
                self.broker_up.set()
                self.feed(BrokerUp())
                await self._stopped.wait()
        finally:
            self._upstream = None
            if self.broker_up.is_set():
                self.broker_up.clear()
                metrics.BROKER_UP.labels(self._label).set(0)
                self.feed(BrokerDown())

    def _received(self, topic: str, payload: bytes) -> None:
        if topic == self._target.topics.disconnect:
            self.feed(Noticed())
            return
        try:
            message = decode_server_message(payload)
        except RemoteProtocolError as error:
            metrics.IGNORED.labels(self._label, error.reason).inc()
            self._log.debug("message_ignored", reason=error.reason)
            return
        # What arrives in one turn of the loop is taken together.
        if not self._heard:
            asyncio.get_running_loop().call_soon(self._take_heard)
        self._heard.append(Heard(message))

    def _tell_failure(self, reason: str) -> None:
        if reason != self._last_failure:
            self._log.warning("broker_down", reason=clean_text(reason, 200))
            self._last_failure = reason
        metrics.RECONNECTS.labels(self._label, Reason.BROKER_UNREACHABLE).inc()

    def _pause_after(self, error: BusError) -> float:
        if self.endpoint.retry.listens and isinstance(error.__cause__, _CHEAP):
            return self._cheap.next()
        return self._backoff.next()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            pass
