"""Whatever happens, each entry of the outbox is counted upstream exactly once and in order.

A model of the handler's outbox and one of the control plane stand at both ends of the pure
endpoint; hypothesis interleaves deliveries, losses, refusals, silences and ends of sessions.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque

from hypothesis import example, given, settings
from hypothesis import strategies as st

from module_gateway.protocol import bus_pb2
from module_gateway.protocol.external import (
    ClientMessage,
    DeviceState,
    ServerMessage,
    Status,
    StatusResponse,
)
from module_gateway.protocol.identity import Device, Identity
from tests.unit.external_client.world import ControlPlane, Handler, World, device

ROLES = "abc"

_STEP = st.one_of(
    st.tuples(st.just("status"), st.sampled_from(ROLES)),
    st.tuples(st.just("status"), st.sampled_from(ROLES)),
    st.tuples(st.just("status"), st.sampled_from(ROLES)),
    st.tuples(st.just("leave"), st.sampled_from(ROLES)),
    st.tuples(st.just("last words"), st.sampled_from(ROLES)),
    st.tuples(st.just("heartbeat"), st.sampled_from(ROLES)),
    st.tuples(st.just("advance"), st.sampled_from((0.05, 0.3, 1.5, 6.0, 31.0))),
    st.tuples(st.just("drop"), st.none()),
    st.tuples(st.just("broker"), st.booleans()),
    st.tuples(st.just("deaf"), st.booleans()),
    st.tuples(st.just("acks"), st.booleans()),
    st.tuples(st.just("far"), st.booleans()),
    st.tuples(st.just("hear"), st.integers(1, 4)),
    st.tuples(st.just("unknown"), st.sampled_from((*ROLES, ""))),
    st.tuples(st.just("command"), st.sampled_from(ROLES)),
    st.tuples(st.just("verdicts"), st.booleans()),
    st.tuples(st.just("lose"), st.integers(1, 3)),
    st.tuples(st.just("link"), st.none()),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("compact"), st.sampled_from(ROLES)),
)


_COMES_BACK: list[tuple] = [
    ("status", "a"),
    ("status", "b"),
    ("advance", 1.5),
    ("far", True),
    ("leave", "a"),
    ("status", "a"),
    ("hear", 1),
    ("status", "a"),
]
"""Its DISCONNECT is acknowledged while its next CONNECTING is still under way."""


class CompactingHandler(Handler):
    """Folds its oldest entries as the real one does at its bound (R8): none that was exposed."""

    def __init__(self) -> None:
        super().__init__()
        self.exposed = 0
        self.is_exposed = False

    def told(self, message: bus_pb2.Message) -> None:
        if message.WhichOneof("body") == "session_phase":
            self.is_exposed = bool(message.session_phase.phase)
            if self.is_exposed:
                self.exposed = max(self.exposed, self.cursor)
        super().told(message)

    def _deliver(self) -> None:
        super()._deliver()
        if self.is_exposed:
            self.exposed = max(self.exposed, self.cursor)

    def compact(self, who: Identity) -> None:
        own = [
            each
            for each in self.outbox
            if Device.from_message(each.device).identity == who and each.sequence > self.exposed
        ][:3]
        if len(own) < 2 or any(each.HasField("error") for each in own[1:]):
            return
        error = own[0].error if own[0].HasField("error") else b"[" + own[0].status + b"]"
        for each in own[1:]:
            error += b"" if each.is_repeat else b"[" + each.status + b"]"
        last = own[-1]
        fold = bus_pb2.Delivery()
        fold.CopyFrom(last)
        fold.error, fold.is_repeat = error, False
        fold.first_sequence = own[0].first_sequence or own[0].sequence
        gone = {each.sequence for each in own[:-1]}
        self.outbox = [
            fold if each.sequence == last.sequence else each
            for each in self.outbox
            if each.sequence not in gone
        ]


class FarControlPlane(ControlPlane):
    """Its answers may be long under way: each is heard when a step says so.

    A device that joins waits for the answer to its CONNECTING before it says anything else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_far = False
        self.under_way: deque[ServerMessage | None] = deque()
        self.joining: dict[tuple[str, int], Identity] = {}

    def receive(self, message: ClientMessage) -> list[ServerMessage | None]:
        if isinstance(message, Status) and message.device.identity in self.joining.values():
            self.violations.append(f"counter {message.counter} before its device has joined")
        answers = super().receive(message)
        if not self.is_far:
            return answers
        if isinstance(message, Status) and message.state == DeviceState.CONNECTING:
            for each in answers:
                if isinstance(each, StatusResponse):
                    self.joining[each.session_id, each.counter] = message.device.identity
        self.under_way.extend(answers)
        return []

    def hear(self, how_many: int) -> list[ServerMessage | None]:
        """What arrives now of what is under way."""
        heard = [self.under_way.popleft() for _ in range(min(how_many, len(self.under_way)))]
        for each in heard:
            if isinstance(each, StatusResponse):
                self.joining.pop((each.session_id, each.counter), None)
        return heard

    def drop(self) -> list[ServerMessage | None]:
        self.under_way.clear()
        self.joining.clear()
        return super().drop()


def counted(statuses: list[Status]) -> dict[str, list[bytes]]:
    """What the control plane has counted, per role and in order."""
    result: dict[str, list[bytes]] = defaultdict(list)
    for status in statuses:
        role = status.device.identity.role
        if status.error is not None:
            result[role] += re.findall(rb"\[([^\]]*)\]", status.error)
        elif status.position is not None:
            is_repeat = status.state == DeviceState.DISCONNECT and (
                result[role][-1:] == [status.status]
            )
            if not is_repeat:
                result[role].append(status.status)
    return result


class Run:
    """One interleaving."""

    def __init__(self, peer: FarControlPlane) -> None:
        self.peer = peer
        self.handler = CompactingHandler()
        self.world = World(self.handler, peer=peer, starts=False)
        self.made: dict[str, list[bytes]] = defaultdict(list)
        self.is_broker_up = True
        self.world.start()

    def do(self, what: str, argument: object) -> None:  # noqa: PLR0912  # one per kind of step
        world, handler, peer = self.world, self.handler, self.peer
        match what, argument:
            case (("status" | "last words"), str(role)):
                status = f"{role}{len(self.made[role]) + 1}".encode()
                self.made[role].append(status)
                world.status(device(role), status, ends=what == "last words")
            case (("leave" | "heartbeat"), str(role)) if (
                device(role).identity in handler.registered
            ):
                (world.leave if what == "leave" else world.heartbeat)(device(role))
            case "advance", float(seconds):
                world.advance(seconds)
            case "drop", _ if self.is_broker_up:
                world.hear(*peer.drop())
            case "broker", bool(is_up) if is_up != self.is_broker_up:
                self.is_broker_up = is_up
                world.broker(is_up=is_up)
            case "deaf", bool(is_deaf):
                peer.is_deaf = is_deaf
                peer.drop()  # killed or started: it knows of no session
            case "acks", bool(does):
                peer.acknowledges = lambda _: does
                if does and self.is_broker_up:
                    world.hear(*peer.drop())  # what it did not acknowledge has ended its session
            case "far", bool(is_far):
                peer.is_far = is_far
                if not is_far:
                    world.hear(*peer.hear(len(peer.under_way)))
            case "hear", int(how_many):
                world.hear(*peer.hear(how_many))
            case "unknown", str(role):
                peer.knows = lambda identity: identity.role != role
            case "command", str(role) if peer.phase == "running" and self.is_broker_up:
                world.hear(peer.command(device(role)))
            case "verdicts", bool(does):
                handler.verdict = 0 if does else None
            case "lose", int(how_many):
                for _ in range(how_many):
                    if handler.outbox and handler.epoch is not None:
                        handler.delivered += 1
            case "link", _:
                handler.said.clear()
                world.link_returns()
            case "restart", _:
                old = handler.peer
                world.lose(handler)
                handler.restart(old + 1)
                world.start_handler(handler)
            case "compact", str(role):
                handler.compact(device(role).identity)
            case _:
                pass

    def finish(self) -> None:
        """Everything works again, and there is time."""
        self.do("far", False)
        self.peer.is_deaf = False
        self.peer.acknowledges = lambda _: True
        self.peer.knows = lambda _: True
        self.handler.verdict = 0
        if self.is_broker_up:
            self.world.hear(*self.peer.drop())  # what it did not acknowledge has ended its session
        else:
            self.world.broker(is_up=True)
        for period in range(120):
            self.world.advance(15.0)
            for who, _ in tuple(self.handler.registered.values()):
                self.world.heartbeat(who)
            if not self.handler.outbox:
                break
            if period % 10 == 9:
                self.world.link_returns()


@settings(max_examples=150, deadline=None)
@given(st.lists(_STEP, max_size=60), st.booleans())
def test_every_entry_is_counted_exactly_once(steps: list[tuple], loses_acks: bool) -> None:
    peer = FarControlPlane()
    peer.applied = {}
    run = Run(peer)
    for what, argument in steps:
        if loses_acks or what != "acks":
            run.do(what, argument)
    run.finish()
    assert [] == run.handler.outbox
    expected = {role: made for role, made in run.made.items() if made}
    assert expected == counted(list(peer.taken))
    assert [] == peer.violations


@settings(max_examples=100, deadline=None)
@given(st.lists(_STEP, max_size=60))
def test_a_plain_peer_gets_every_entry_in_order(steps: list[tuple]) -> None:
    """Without the extension a repeat is possible after an ambiguous end, a loss is not."""
    peer = FarControlPlane()
    run = Run(peer)
    for what, argument in steps:
        run.do(what, argument)
    run.finish()
    assert [] == run.handler.outbox
    got = counted(peer.taken)
    for role, made in run.made.items():
        first_seen = list(dict.fromkeys(got[role]))
        assert made == first_seen
    assert [] == peer.violations


@settings(max_examples=100, deadline=None)
@given(st.lists(_STEP, max_size=60))
@example(_COMES_BACK)
def test_the_state_table_is_never_violated(steps: list[tuple]) -> None:
    """4.7 holds at every moment, also for what the peer does not acknowledge."""
    peer = FarControlPlane()
    run = Run(peer)
    for what, argument in steps:
        run.do(what, argument)
        assert [] == peer.violations
        states = [each.state for each in run.world.statuses]
        assert DeviceState.ERROR not in states
