"""One device connection as a state machine (fleet-protocol 2.2-2.9).

    ACCEPTED ──connect──► DECIDING ──verdict OK──► CONNECTED ──status──► AWAITING_COMMAND
                                                       ▲──────command written────┘
    any state ──violation, deadline, refusal, order, end of file──► CLOSED

Pure: events and the time come in, effects go out; sockets, timers and the bus are elsewhere.
Frames are taken one at a time: while a verdict or a reply is outstanding, or frames are held, the
next one is not looked at, so pipelined frames are answered strictly in order.

One whole frame with nothing before or behind it, which is what nearly every status is, has a short
way, `take_status` and `take_reply`, that changes the state as `step` would.
"""

from __future__ import annotations

from enum import Enum, auto, unique
from math import inf
from typing import Final, assert_never

from module_gateway.internal_server import events as ev
from module_gateway.internal_server.rules import Fault, SessionRules
from module_gateway.internal_server.validation import Refusal
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason, RemoteProtocolError
from module_gateway.protocol.framing import HEADER_SIZE_BYTES, FrameDecoder
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import (
    ConnectResponseType,
    DeviceConnect,
    DeviceStatus,
    decode_client_message,
    encode_command_for,
    encode_connect_response,
    encode_device,
    status_of,
)

PIPELINE_SIZE_BYTES: Final = 64 * 1024
"""What a device may send ahead while it waits for an answer; beyond it its socket is not read.
Only a client that pipelines ever gets there: the known ones send one frame and wait."""

COMMUNICATION_ERROR_RESPONSE: Final = -1
"""What `--comm-error` answers (fleet-protocol 5.2): a type that no client knows."""


@unique
class State(Enum):
    """Where a connection stands."""

    ACCEPTED = auto()
    DECIDING = auto()
    CONNECTED = auto()
    AWAITING_COMMAND = auto()
    CLOSED = auto()


_REFUSAL_REASONS: Final[dict[int, Reason]] = {
    ConnectResponseType.ALREADY_CONNECTED: Reason.ALREADY_CONNECTED,
    ConnectResponseType.MODULE_NOT_SUPPORTED: Reason.MODULE_NOT_SUPPORTED,
    ConnectResponseType.DEVICE_NOT_SUPPORTED: Reason.DEVICE_NOT_SUPPORTED,
    ConnectResponseType.HIGHER_PRIORITY_ALREADY_CONNECTED: (
        Reason.HIGHER_PRIORITY_ALREADY_CONNECTED
    ),
}


class DeviceSession:
    """All that is known about one connection.

    Call `step` for every event, execute its effects in order, then look at `deadline` (absolute,
    seconds of the caller's clock; infinite for none) and step with `DeadlineChecked` no earlier.
    """

    __slots__ = (
        "_connected_at",
        "_decoder",
        "_device_bytes",
        "_frame_started_at",
        "_heard_at",
        "_is_held",
        "_last_status_at",
        "_rules",
        "_stalled_at",
        "asked_at",
        "device",
        "is_decided",
        "last_sequence",
        "state",
    )

    def __init__(self, rules: SessionRules, now: float) -> None:
        self.state = State.ACCEPTED
        self.device: Device | None = None
        """Set when a well-formed connect arrived."""
        self.last_sequence = 0
        """Of the statuses handed over; 0 for none."""
        self.is_decided = False
        """Whether an OK verdict was received."""
        self.asked_at = inf
        """When the answer that is waited for was asked for; infinity while none is."""
        self._rules = rules
        self._decoder = FrameDecoder(rules.max_frame_bytes)
        self._connected_at = now  # until then: accepted at
        self._last_status_at = now
        self._heard_at = now
        self._frame_started_at = inf
        self._stalled_at = inf
        self._is_held = False
        self._device_bytes = b""  # of the last status, else of the connect

    @property
    def is_waiting(self) -> bool:
        """Whether a verdict or a reply is outstanding."""
        return self.state is State.DECIDING or self.state is State.AWAITING_COMMAND

    @property
    def buffered_bytes(self) -> int:
        """Bytes received that are not part of a frame taken yet."""
        return self._decoder.buffered_bytes

    @property
    def wants_bytes(self) -> bool:
        """Whether the socket should be read."""
        if self._is_held or self._stalled_at != inf or self.state is State.CLOSED:
            return False
        return not self.is_waiting or self._decoder.buffered_bytes < PIPELINE_SIZE_BYTES

    @property
    def deadline(self) -> float:
        """When, if nothing happens, this connection must be closed."""
        return self._next_deadline()[0]

    def _next_deadline(self) -> tuple[float, Reason]:
        rules = self._rules
        match self.state:
            case State.ACCEPTED:
                reason = Reason.QUEUE_FULL if self._is_held else Reason.CONNECT_DEADLINE
                due = (self._connected_at + rules.connect_deadline_s, reason)
            case State.DECIDING | State.AWAITING_COMMAND:
                due = (self.asked_at + rules.reply_window_s, Reason.REPLY_TIMEOUT)
            case State.CONNECTED:
                due = (self._last_status_at + rules.inactivity_s, Reason.INACTIVE)
            case State.CLOSED:
                return (inf, Reason.CLOSED_BY_PEER)
            case _:
                assert_never(self.state)
        if self._frame_started_at != inf:
            due = min(due, (self._frame_started_at + rules.frame_deadline_s, Reason.FRAME_DEADLINE))
        if self._stalled_at != inf:
            due = min(due, (self._stalled_at + rules.write_deadline_s, Reason.NOT_READING))
        return due

    # ---- the short way -------------------------------------------------------------------

    def take_status(self, chunk: bytes, now: float) -> bytes | None:
        """Take a chunk that is one whole status of this device, when nothing else is to be done.

        Returns the status, numbered `last_sequence`. None: not taken, `step` must see the chunk.
        """
        if self.state is not State.CONNECTED or not self._is_undisturbed():
            return None
        message = chunk[HEADER_SIZE_BYTES:]
        is_whole = int.from_bytes(chunk[:HEADER_SIZE_BYTES], "little") == len(message)
        if not is_whole or len(message) > self._rules.max_frame_bytes:
            return None
        status = status_of(message, self._device_bytes)
        if status is not None:
            self._heard_at = now
            self._hand_over(now)
        return status

    def take_reply(self, sequence: int, command: bytes) -> bytes | None:
        """Take the reply that is waited for, when nothing else is to be done.

        Returns the frame to be written. None: not taken, `step` must see the reply.
        """
        is_awaited = self.state is State.AWAITING_COMMAND and sequence == self.last_sequence
        if not is_awaited or not self._is_undisturbed():
            return None
        self.state = State.CONNECTED
        self.asked_at = inf
        return encode_command_for(self._device_bytes, command)

    def _is_undisturbed(self) -> bool:
        """No part of a frame waits, nothing holds frames back."""
        return not (self._is_held or self._decoder.buffered_bytes) and self._stalled_at == inf

    def _hand_over(self, now: float) -> None:
        self.state = State.AWAITING_COMMAND
        self.last_sequence += 1
        self._last_status_at = self.asked_at = now

    # ---- the table -----------------------------------------------------------------------

    def step(self, event: ev.Event, now: float) -> list[ev.Effect]:  # noqa: C901, PLR0912  # one arm per event
        """Take one event at time `now` and say what must be done, in this order."""
        effects: list[ev.Effect] = []
        if self.state is State.CLOSED:
            return self._step_closed(event)
        match event:
            case ev.BytesReceived(chunk):
                self._heard_at = now
                self._decoder.receive(chunk)
                self._take_frames(now, effects)
            case ev.ReplyArrived(sequence, command):
                self._take_reply(sequence, command, now, effects)
            case ev.VerdictArrived(response):
                self._take_verdict(response, now, effects)
            case ev.RefusalArrived(sequence, cause, reason):
                if self.state is State.AWAITING_COMMAND and sequence == self.last_sequence:
                    self._close(effects, reason, cause)
                else:
                    effects.append(ev.Drop(Reason.LATE_REPLY))
            case ev.CommandPushed(command):
                self._push(command, effects)
            case ev.CloseOrdered(reason, cause):
                self._close(effects, reason, cause, flushes=reason is Reason.SHUTDOWN)
            case ev.Probed():
                is_alive = now - self._heard_at <= self._rules.inactivity_s
                effects.append(ev.AnswerProbe(is_alive))
            case ev.DeadlineChecked():
                self._check_deadline(now, effects)
            case ev.PeerClosed():
                self._close(effects, Reason.CLOSED_BY_PEER, bus_pb2.CLOSED_BY_PEER)
            case ev.WritingStalled():
                self._stalled_at = now
            case ev.WritingResumed():
                self._stalled_at = inf
                self._take_frames(now, effects)
            case ev.FramesHeld():
                self._is_held = True
                self._frame_started_at = inf
            case ev.FramesReleased():
                self._is_held = False
                self._take_frames(now, effects)
            case _:
                assert_never(event)
        return effects

    def _step_closed(self, event: ev.Event) -> list[ev.Effect]:
        """A closed connection answers probes and counts what comes too late, nothing else."""
        match event:
            case ev.ReplyArrived() | ev.RefusalArrived() | ev.VerdictArrived():
                return [ev.Drop(Reason.LATE_REPLY)]
            case ev.CommandPushed():
                return [ev.Drop(Reason.COMMAND_DEVICE_LEFT)]
            case ev.Probed():
                return [ev.AnswerProbe(is_alive=False)]
            case _:
                return []

    # ---- frames --------------------------------------------------------------------------

    def _take_frames(self, now: float, effects: list[ev.Effect]) -> None:
        """Take frames until one needs an answer, the bytes run out or the connection closes."""
        while self._may_take_frame():
            try:
                frame = self._decoder.next_frame()
                if frame is None:
                    self._note_unfinished_frame(now)
                    return
                self._frame_started_at = inf
                self._take_message(decode_client_message(frame), now, effects)
            except RemoteProtocolError as error:
                self._close(effects, error.reason, bus_pb2.PROTOCOL_VIOLATION, detail=error.detail)
                return

    def _may_take_frame(self) -> bool:
        if self._is_held or self._stalled_at != inf:
            return False
        return self.state is State.CONNECTED or self.state is State.ACCEPTED

    def _note_unfinished_frame(self, now: float) -> None:
        if not self._decoder.buffered_bytes:
            self._frame_started_at = inf
        elif self._frame_started_at == inf:
            self._frame_started_at = now

    def _take_message(
        self, message: DeviceConnect | DeviceStatus, now: float, effects: list[ev.Effect]
    ) -> None:
        """The table of fleet-protocol 2.2: what may come in which state.

        Raises:
            RemoteProtocolError: the message may not come now, or speaks for another device.
        """
        match (self.state, message):
            case (State.ACCEPTED, DeviceConnect(device)):
                self._introduce(device, now, effects)
            case (State.CONNECTED, DeviceStatus(device, status)):
                assert self.device is not None  # noqa: S101  # CONNECTED is only reached with one
                if device.identity != self.device.identity:
                    raise RemoteProtocolError(Reason.OTHER_DEVICE, str(device.identity))
                self._hand_over(now)
                self._device_bytes = encode_device(device)
                effects.append(ev.RequestStatus(self.last_sequence, status))
            case _:
                raise RemoteProtocolError(
                    Reason.UNEXPECTED_MESSAGE, f"{type(message).__name__} when {self.state.name}"
                )

    def _introduce(self, device: Device, now: float, effects: list[ev.Effect]) -> None:
        refusal = self._rules.admit(device)
        if refusal is not None and refusal.response is None:
            raise RemoteProtocolError(refusal.reason, refusal.detail)
        self.device = device
        if self._rules.fault is Fault.COMMUNICATION_ERROR:
            refusal = Refusal(Reason.FAULT_INJECTED, COMMUNICATION_ERROR_RESPONSE)
        if refusal is not None and refusal.response is not None:
            response, detail = refusal.response, refusal.detail
            self._refuse(device, response, refusal.reason, 0.0, effects, detail=detail)
            return
        self.state = State.DECIDING
        self.asked_at = now
        self._device_bytes = encode_device(device)
        effects.append(ev.RequestConnect(device))

    # ---- answers -------------------------------------------------------------------------

    def _take_verdict(self, response: int, now: float, effects: list[ev.Effect]) -> None:
        device = self.device
        if self.state is not State.DECIDING or device is None:
            effects.append(ev.Drop(Reason.LATE_REPLY))
            return
        waited_s = now - self.asked_at
        self.asked_at = inf
        if response != ConnectResponseType.OK:
            reason = _REFUSAL_REASONS.get(response, Reason.DEVICE_NOT_SUPPORTED)
            self._refuse(device, response, reason, waited_s, effects)
            return
        self.is_decided = True
        self.state = State.CONNECTED
        self._connected_at = self._last_status_at = now
        if self._rules.fault is not Fault.SILENT_CONNECT:
            frame = encode_connect_response(device, response)
            effects.append(ev.WriteConnectResponse(frame, response, waited_s))
        self._take_frames(now, effects)

    def _refuse(
        self,
        device: Device,
        response: int,
        reason: Reason,
        waited_s: float,
        effects: list[ev.Effect],
        *,
        detail: str = "",
    ) -> None:
        if self._rules.fault is not Fault.SILENT_CONNECT:
            frame = encode_connect_response(device, response)
            effects.append(ev.WriteConnectResponse(frame, response, waited_s))
        self._close(effects, reason, bus_pb2.REFUSED, flushes=True, detail=detail)

    def _take_reply(
        self, sequence: int, command: bytes, now: float, effects: list[ev.Effect]
    ) -> None:
        if self.state is not State.AWAITING_COMMAND or sequence != self.last_sequence:
            effects.append(ev.Drop(Reason.LATE_REPLY))
            return
        frame = encode_command_for(self._device_bytes, command)
        effects.append(ev.WriteCommand(frame, now - self.asked_at))
        self.state = State.CONNECTED
        self.asked_at = inf
        self._take_frames(now, effects)

    def _push(self, command: bytes, effects: list[ev.Effect]) -> None:
        """Written with the connected Device, whatever the control plane called it (G-13)."""
        if self.device is None or not self.is_decided:
            effects.append(ev.Drop(Reason.COMMAND_DEVICE_LEFT))
            return
        frame = encode_command_for(encode_device(self.device), command)
        effects.append(ev.WriteCommand(frame, -1.0))

    # ---- ends ----------------------------------------------------------------------------

    def _check_deadline(self, now: float, effects: list[ev.Effect]) -> None:
        due, reason = self._next_deadline()
        if now < due:
            return
        causes = {
            Reason.REPLY_TIMEOUT: bus_pb2.REPLY_TIMEOUT,
            Reason.INACTIVE: bus_pb2.INACTIVE,
            Reason.QUEUE_FULL: bus_pb2.REFUSED,
        }
        self._close(effects, reason, causes.get(reason, bus_pb2.PROTOCOL_VIOLATION))

    def _close(
        self,
        effects: list[ev.Effect],
        reason: Reason,
        cause: bus_pb2.EndCause,
        *,
        flushes: bool = False,
        detail: str = "",
    ) -> None:
        self.state = State.CLOSED
        self.asked_at = inf
        self._decoder = FrameDecoder(self._rules.max_frame_bytes)
        effects.append(ev.Close(reason, cause, flushes, detail))
