"""Whatever happens, each entry of a module with replay reaches the control plane.

None is folded here; some are by the handler, as if its bound were reached.

A model of the handler's outbox and its lanes and one of the control plane stand at both ends of
the pure endpoint; hypothesis interleaves deliveries, losses, refusals, silences and ends.
"""

from __future__ import annotations

import re
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from module_gateway.protocol import bus_pb2
from module_gateway.protocol.external import ClientMessage, ServerMessage, Status
from tests.unit.external_client.world import MODULE, ControlPlane, Handler, World, device

ROLES = "ab"
WINDOW = 6

_STEP = st.one_of(
    st.tuples(st.just("status"), st.sampled_from(ROLES)),
    st.tuples(st.just("status"), st.sampled_from(ROLES)),
    st.tuples(st.just("talk"), st.sampled_from(ROLES)),
    st.tuples(st.just("talk"), st.sampled_from(ROLES)),
    st.tuples(st.just("talk"), st.sampled_from(ROLES)),
    st.tuples(st.just("burst"), st.sampled_from(ROLES)),
    st.tuples(st.just("leave"), st.sampled_from(ROLES)),
    st.tuples(st.just("last words"), st.sampled_from(ROLES)),
    st.tuples(st.just("heartbeat"), st.sampled_from(ROLES)),
    st.tuples(st.just("advance"), st.sampled_from((0.05, 0.3, 1.5, 6.0, 31.0))),
    st.tuples(st.just("drop"), st.none()),
    st.tuples(st.just("broker"), st.booleans()),
    st.tuples(st.just("deaf"), st.booleans()),
    st.tuples(st.just("acks"), st.booleans()),
    st.tuples(st.just("some acks"), st.none()),
    st.tuples(st.just("unknown"), st.sampled_from((*ROLES, ""))),
    st.tuples(st.just("command"), st.sampled_from(ROLES)),
    st.tuples(st.just("lose"), st.integers(0, 2)),
    st.tuples(st.just("link"), st.none()),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("new client"), st.none()),
    st.tuples(st.just("compact"), st.sampled_from(ROLES)),
    st.tuples(st.just("slow"), st.booleans()),
    st.tuples(st.just("answers"), st.integers(-4, 4)),
    st.tuples(st.just("answers"), st.integers(-4, 4)),
)


class SlowControlPlane(ControlPlane):
    """Answers statuses when it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_slow = False
        self.held: list[ServerMessage | None] = []

    def receive(self, message: ClientMessage) -> list[ServerMessage | None]:
        answers = super().receive(message)
        if not self.is_slow or self.phase != "running":
            return answers
        self.held += answers
        return []

    def answers(self, count: int) -> list[ServerMessage | None]:
        """The oldest ones; with a negative count the newest of them comes first."""
        given, self.held = self.held[: abs(count)], self.held[abs(count) :]
        return given if count >= 0 else given[::-1]


class WatchedHandler(Handler):
    """Says when it is told to forget what the control plane has not got."""

    def __init__(self, peer: ControlPlane) -> None:
        super().__init__(replays=True, window=WINDOW)
        self.control_plane = peer
        self.wrongly_forgotten: list[int] = []

    def compact(self, role: str) -> None:
        """Fold what was not delivered; never across the cut, beyond which all is live."""
        known = max(self.streams[lane].cursor for lane in (1, 2))
        own = [
            each
            for each in self.outbox
            if each.device.deviceRole == role and each.sequence > max(known, self.cut or 0)
        ][:4]
        if self.cut is not None or len(own) < 2 or any(each.HasField("error") for each in own[1:]):
            return
        error = own[0].error if own[0].HasField("error") else b"[" + own[0].status + b"]"
        for each in own[1:]:
            error += b"" if each.is_repeat else b"[" + each.status + b"]"
        fold = bus_pb2.Delivery()
        fold.CopyFrom(own[-1])
        fold.error, fold.is_repeat = error, False
        fold.first_sequence = own[0].first_sequence or own[0].sequence
        at = self.outbox.index(own[-1])
        self.outbox[at] = fold
        for each in own[:-1]:
            self.outbox.remove(each)

    def _acknowledged(self, ack: bus_pb2.OutboxAck) -> None:
        before = {each.sequence: each for each in self.outbox}
        super()._acknowledged(ack)
        have = {each.position.sequence for each in self.control_plane.taken if each.position}
        for sequence in before.keys() - {each.sequence for each in self.outbox}:
            entry = before[sequence]
            if sequence not in have and not (entry.is_repeat and entry.ends_registration):
                self.wrongly_forgotten.append(sequence)


class Run:
    """One interleaving."""

    def __init__(self, peer: SlowControlPlane) -> None:
        self.peer = peer
        self.handler = WatchedHandler(peer)
        self.world = self._client()
        self.made: dict[str, list[bytes]] = defaultdict(list)
        self.is_broker_up = True
        self.world.start()

    def _client(self) -> World:
        replays = frozenset({MODULE})
        return World(self.handler, peer=self.peer, starts=False, window=3, replay_modules=replays)  # type: ignore[arg-type]

    def say(self, role: str, *, ends: bool = False) -> None:
        status = f"{role}{len(self.made[role]) + 1}".encode()
        self.made[role].append(status)
        self.world.status(device(role), status, ends=ends)

    def have_an_outage(self) -> None:
        """Both devices have more to tell than the lane takes; the peer is slow to answer."""
        for role in ROLES:
            self.do("status", role)
        self.do("advance", 1.5)
        self.do("broker", False)
        for role in ROLES * 2:
            self.do("burst", role)
        self.do("slow", True)
        self.do("broker", True)
        self.do("advance", 1.5)

    def do(self, what: str, argument: object) -> None:  # noqa: PLR0912, PLR0915  # one per kind of step
        world, handler, peer = self.world, self.handler, self.peer
        match what, argument:
            case "status", str(role):
                self.say(role)
            case "talk", str(role):
                self.say(role)
                self.do("answers", 2)
            case "burst", str(role):
                for _ in range(2 * WINDOW):
                    self.say(role)
            case "last words", str(role):
                self.say(role, ends=True)
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
                peer.drop()
            case "acks", bool(does):
                peer.acknowledges = lambda _: does
                if does and self.is_broker_up:
                    world.hear(*peer.drop())
            case "some acks", _:
                peer.acknowledges = lambda status: status.counter % 2 == 0
            case "unknown", str(role):
                peer.knows = lambda identity: identity.role != role
            case "command", str(role) if peer.phase == "running" and self.is_broker_up:
                world.hear(peer.command(device(role)))
            case "lose", int(lane):
                if handler.outbox and handler.epoch is not None:
                    handler.streams[lane].delivered += 1
            case "compact", str(role):
                handler.compact(role)
            case "slow", bool(is_slow):
                peer.is_slow = is_slow
            case "answers", int(count) if self.is_broker_up:
                world.hear(*peer.answers(count))
            case "link", _:
                handler.said.clear()
                world.link_returns()
            case "restart", _:
                old = handler.peer
                world.lose(handler)
                handler.restart(old + 1)
                world.start_handler(handler)
            case "new client", _:
                peer.drop()
                handler.said.clear()
                handler.epoch = None
                now, self.world = world.now, self._client()
                self.world.now = now
                self.world.start_ids(world)
                self.world.start_handler(handler)
                if self.is_broker_up:
                    self.world.broker(is_up=True)
                self.world.published = world.published
            case _:
                pass
        assert world.endpoint.backlog.replay.held <= 2 * WINDOW
        assert 0 == len(world.endpoint.backlog.folds)

    def finish(self) -> None:
        """Everything works again, and there is time."""
        self.peer.is_deaf = False
        self.peer.acknowledges = lambda _: True
        self.peer.knows = lambda _: True
        self.peer.is_slow = False
        if self.is_broker_up:
            self.world.hear(*self.peer.drop())
        else:
            self.world.broker(is_up=True)
        for period in range(200):
            self.world.advance(15.0)
            for who, _ in tuple(self.handler.registered.values()):
                self.world.heartbeat(who)
            if not self.handler.outbox:
                break
            if period % 10 == 9:
                self.world.link_returns()
        assert [] == self.handler.outbox


def told(statuses: list[Status], role: str) -> list[bytes]:
    """What the control plane knows of a device's entries, those in folds too."""
    result: list[bytes] = []
    for status in statuses:
        if status.device.identity.role == role and status.position is not None:
            folded = re.findall(rb"\[([^\]]*)\]", status.error or b"")
            result += folded if status.error is not None else [status.status]
    return result


@settings(max_examples=80, deadline=None)
@given(st.lists(_STEP, max_size=60), st.booleans(), st.booleans())
def test_R18_a_plain_peer_gets_every_entry_in_order(
    steps: list[tuple], after_outage: bool, has_applied: bool
) -> None:
    peer = SlowControlPlane()
    peer.applied = {} if has_applied else None
    run = Run(peer)
    if after_outage:
        run.have_an_outage()
    for what, argument in steps:
        run.do(what, argument)
        assert [] == peer.violations
    run.finish()
    assert [] == peer.violations
    assert [] == run.handler.wrongly_forgotten
    assert not any(each.is_live for each in peer.taken)
    for role, made in run.made.items():
        assert made == list(dict.fromkeys(told(peer.taken, role)))


@settings(max_examples=120, deadline=None)
@given(st.lists(_STEP, max_size=60), st.booleans())
def test_R18_a_peer_with_replay_gets_every_entry_once_and_in_order_per_lane(
    steps: list[tuple], after_outage: bool
) -> None:
    peer = SlowControlPlane()
    peer.applied, peer.splits = {}, True
    run = Run(peer)
    if after_outage:
        run.have_an_outage()
    for what, argument in steps:
        run.do(what, argument)
        assert [] == peer.violations
    run.finish()
    assert [] == peer.violations
    assert [] == run.handler.wrongly_forgotten
    positions = [(each.device.identity, each.position) for each in peer.taken if each.position]
    assert len(set(positions)) == len(positions)
    for role, made in run.made.items():
        own = [each for each in peer.taken if each.device.identity.role == role and each.position]
        assert set(made) == set(told(own, role))
        for session in {each.session_id for each in own}:
            for is_live in (False, True):
                lane = [
                    each.position.sequence
                    for each in own
                    if each.position and (each.session_id, each.is_live) == (session, is_live)
                ]
                assert sorted(lane) == lane
