"""Devices and the internal server that they connect to."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from module_gateway.internal_server import events as ev
from module_gateway.internal_server.connections import HandlerPeer
from module_gateway.internal_server.deadlines import Deadlines
from module_gateway.internal_server.dialogue import Demand, HandlerDialogue
from module_gateway.internal_server.rules import SessionRules
from module_gateway.internal_server.session import DeviceSession, State
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import (
    DeviceCommand,
    decode_server_message,
    encode_connect,
    encode_status,
)
from module_gateway.runtime.settings import BusSettings
from tests.simulation.schedule import Alarm, Life
from tests.simulation.wires import HEARTBEAT_S, SimLink, Socket

if TYPE_CHECKING:
    from tests.simulation.world import World

RULES = SessionRules(admit=lambda device: None)
_BUS = BusSettings()


class SimConnection:
    """The shell of `internal_server.connection.DeviceConnection`, round the same session."""

    def __init__(self, server: SimServer, instance: int, device: SimDevice, number: int) -> None:
        self.instance = instance
        self.session = DeviceSession(RULES, server.now)
        self.peer: HandlerPeer | None = None
        self.is_counted = False
        self.watched_at = inf
        self.slow_at: float | None = None
        self._server = server
        self._device, self._number = device, number
        self._to_device = Socket(server.world.schedule)
        self._cause: int | None = None

    @property
    def deadline(self) -> float:
        return self.session.deadline

    @property
    def asked_at(self) -> float:
        return self.session.asked_at

    def is_of(self, server: SimServer) -> bool:
        return self._server is server

    def has_pending_end(self) -> bool:
        return self._device.has_hung_up(self._number)

    def take(self, event: ev.Event) -> None:
        server = self._server
        if server.life.is_alive and not self._goes_the_short_way(event):
            for effect in self.session.step(event, server.now):
                self._execute(effect)
            server.stepped(self)

    def _goes_the_short_way(self, event: ev.Event) -> bool:
        match event:
            case ev.BytesReceived(chunk):
                status = self.session.take_status(chunk, self._server.now)
                if status is not None:
                    self._execute(ev.RequestStatus(self.session.last_sequence, status))
                    return True
            case ev.ReplyArrived(sequence, command):
                frame = self.session.take_reply(sequence, command)
                if frame is not None:
                    self._execute(ev.WriteCommand(frame, 0.0))
                    self._server.dialogue.stepped(self, self._server.now)  # type: ignore[arg-type]
                    return True
        return False

    def reply(self, sequence: int, command: bytes) -> None:
        self.take(ev.ReplyArrived(sequence, command))

    def _execute(self, effect: ev.Effect) -> None:
        server = self._server
        match effect:
            case ev.RequestConnect(device):
                server.expect_answer(self)
                server.dialogue.request_connect(self, device, server.now)  # type: ignore[arg-type]
            case ev.RequestStatus(sequence, status):
                server.expect_answer(self)
                server.dialogue.request_status(self, sequence, status, server.now)  # type: ignore[arg-type]
            case ev.WriteConnectResponse(frame) | ev.WriteCommand(frame):
                self._to_device.carry(self._device.received, self._number, frame)
            case ev.AnswerProbe(is_alive):
                server.dialogue.answer_probe(self, is_alive=is_alive)
            case ev.Close(reason, cause):
                server.world.schedule.say(self._device.name, self._number, "closed:", reason)
                self._cause = cause
                self._to_device.carry(self._device.hung_up, self._number)
                server.world.schedule.after(0.0, self.lost, life=server.life)
            case ev.Drop(reason):
                server.world.count(reason)

    def lost(self) -> None:
        """The socket is gone."""
        if self.session.state is not State.CLOSED:
            self.take(ev.PeerClosed())
            return  # its effect calls this again
        if self._cause is not None:
            cause, self._cause = self._cause, None
            self._server.dialogue.ended(self, cause)


class SimServer:
    """One life of an internal server."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.life = Life()
        self.deadlines: Deadlines[SimConnection] = Deadlines(RULES.reply_window_s)
        self.dialogue = HandlerDialogue(
            None,  # type: ignore[arg-type]
            _BUS,
            Demand(5_000, inf),
            lambda device: False,
            lambda *_: None,
        )
        link = SimLink(world.bus, world.schedule, self.life, bus_pb2.INTERNAL_SERVER, self.dialogue)
        self.link = link
        self.dialogue.link = link  # type: ignore[misc,assignment]  # the simulated one instead
        self._alarm = Alarm(world.schedule, self.life, self._look)
        self._instances = 0
        link.start()
        self._tick()

    @property
    def now(self) -> float:
        return self.world.schedule.now

    def accept(self, device: SimDevice, number: int) -> SimConnection:
        self._instances += 1
        connection = SimConnection(self, self._instances, device, number)
        self.stepped(connection)
        return connection

    def stepped(self, connection: SimConnection) -> None:
        self.dialogue.stepped(connection, self.now)  # type: ignore[arg-type]
        if not connection.session.is_waiting:
            self.deadlines.watch(connection)
        self._alarm.set(self.deadlines.next_due())

    def expect_answer(self, connection: SimConnection) -> None:
        self.deadlines.expect_answer(connection, self.now)
        self._alarm.set(self.deadlines.next_due())

    def _look(self) -> None:
        for connection in self.deadlines.take_due(self.now):
            if connection.session.state is not State.CLOSED:
                connection.take(ev.DeadlineChecked())
        self._alarm.set(self.deadlines.next_due())

    def _tick(self) -> None:
        self.world.schedule.after(HEARTBEAT_S, self._tick, life=self.life)
        self.dialogue.send_digests()

    def crash(self) -> None:
        self.life.end()
        self.link.end()


class SimDevice:
    """One physical device: connects, sends, waits, gives up, comes back."""

    def __init__(self, world: World, device: Device, number: int, period_s: float) -> None:
        self.world = world
        self.device = device
        self.name = f"{device.identity.role}{number}"
        self.is_going = True
        self.is_connected = False
        self.answered_at = 0.0
        self._period_s = period_s
        self._number = 0
        self._sent = 0
        self._connection: SimConnection | None = None
        self._to_server = Socket(world.schedule)
        self._decoder = FrameDecoder()
        self._unanswered: deque[bytes] = deque()
        self._opened_at = 0.0
        world.schedule.after(world.schedule.rng.random(), self._connect)

    def has_hung_up(self, number: int) -> bool:
        return number != self._number

    # Its life

    def _connect(self) -> None:
        if not self.is_going or self._connection is not None:
            return
        server = self.world.server_for(self)
        if server is None:
            self._come_back(0.3)
            return
        self._number += 1
        self._sent = 0
        self._decoder = FrameDecoder()
        self._unanswered.clear()
        self._opened_at = self.world.schedule.now
        self._to_server = Socket(self.world.schedule)
        self._connection = server.accept(self, self._number)
        self.world.schedule.say(self.name, self._number, "connects")
        self._send(encode_connect(self.device))
        self.world.schedule.after(2.0, self._expect_connected, self._number)

    def _expect_connected(self, number: int) -> None:
        if number == self._number and self._connection is not None and not self.is_connected:
            self.leave(0.3)

    def _send(self, frame: bytes) -> None:
        connection = self._connection
        if connection is not None:
            rng = self.world.schedule.rng
            cut = rng.randrange(len(frame)) if rng.random() < 0.1 else 0
            for part in (frame[:cut], frame[cut:]):
                if part:
                    self._to_server.carry(connection.take, ev.BytesReceived(part))

    def _speak(self, number: int) -> None:
        if number != self._number or not self.is_connected:
            return
        rng = self.world.schedule.rng
        if not self.is_going or (self.world.is_wild and rng.random() < 0.02):
            self.leave(rng.choice((0.0, 0.1, 1.0, 3.0, 9.0)))
            return
        for _ in range(2 if rng.random() < 0.1 else 1):
            self._sent += 1
            quiet = "q" if rng.random() < 0.3 else ""
            tag = f"{self.name}.{self._number}.{self._sent}{quiet}".encode()
            self._unanswered.append(tag)
            self.world.ledger.status_sent(tag)
            self._send(encode_status(self.device, tag))
        self.world.schedule.after(2.0, self._expect_answer, number, self._sent)

    def _expect_answer(self, number: int, sent: int) -> None:
        if number == self._number and self._unanswered and self._sent == sent:
            self.leave(0.1)

    def leave(self, pause_s: float) -> None:
        """Close the connection, and come back later."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self.world.schedule.say(self.name, self._number, "leaves")
        self._to_server.carry(connection.take, ev.PeerClosed())
        self._gone(pause_s)

    def _gone(self, pause_s: float) -> None:
        self._number += 1  # whatever still comes is for nobody
        if self.is_connected:
            self.is_connected = False
            self.world.away_since[self.device.identity] = self.world.schedule.now
        self._come_back(pause_s)

    def _come_back(self, pause_s: float) -> None:
        if self.is_going:
            self.world.schedule.after(
                pause_s + 0.2 * self.world.schedule.rng.random(), self._connect
            )

    def lose(self, server: SimServer) -> None:
        """The server's process is dead: the kernel resets its connections."""
        if self._connection is not None and self._connection.is_of(server):
            self.world.schedule.after(
                0.01 * self.world.schedule.rng.random(), self.hung_up, self._number
            )

    # What it hears

    def hung_up(self, number: int) -> None:
        """The other side has closed, or is dead."""
        if number == self._number and self._connection is not None:
            self._connection = None
            was_connected = self.is_connected
            self._gone(
                self.world.schedule.rng.choice((0.0, 0.0, 0.5) if was_connected else (0.5, 3.0))
            )

    def received(self, number: int, frame: bytes) -> None:
        if number != self._number:
            return
        self._decoder.receive(frame)
        while (body := self._decoder.next_frame()) is not None:
            message = decode_server_message(body)
            if message.device != self.device:
                self.world.ledger.fail("wrong device", self.name, "got", message)
            if isinstance(message, DeviceCommand):
                self._answered(message.command)
            elif message.response == 0:
                self.is_connected = True
                self._speak(self._number)

    def _answered(self, command: bytes) -> None:
        if not self._unanswered:
            self.world.ledger.fail("phantom", self.name, "got", command, "for nothing")
        away_since = self.world.away_since.get(self.device.identity, 0.0)
        self.world.ledger.status_answered(
            self.device.identity, self._unanswered.popleft(), command, self._opened_at, away_since
        )
        self.answered_at = self.world.schedule.now
        if not self._unanswered:
            period_s = self._period_s * (0.5 + self.world.schedule.rng.random())
            if not self.world.is_wild:
                period_s = 2.0 + period_s
            self.world.schedule.after(period_s if self.is_going else 0.0, self._speak, self._number)
