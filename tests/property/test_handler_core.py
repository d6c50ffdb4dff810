"""Commands, statuses, timers, departures and crashes on a few devices, in any order (case 40).

Nothing that was answered is lost, nothing is applied twice, no command reaches a device that had
left after the command was accepted, and every accepted command is delivered or counted.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from module_gateway.module_handler.core import PeerUp
from module_gateway.module_handler.turn import Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from tests.unit.module_handler import rig as speak
from tests.unit.module_handler.rig import CLIENT, MODULE, SERVER, Rig, bodies

ROLES = ("a", "b")
ENDS = (bus_pb2.CLOSED_BY_PEER, bus_pb2.INACTIVE, bus_pb2.REPLY_TIMEOUT)


class CoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(speak.limits(entries=8))
        self.instances: dict[str, int] = {}
        self.sequences: dict[str, int] = {}
        self.next_instance = 1
        self.next_status = 1
        self.next_command = 1
        self.answered: dict[str, list[bytes]] = {role: [] for role in ROLES}
        self.lives: dict[str, list[list[bytes]]] = {role: [] for role in ROLES}
        self.allowed: dict[str, set[bytes]] = {role: set() for role in ROLES}
        self.accepted: set[bytes] = set()
        self.delivered: set[bytes] = set()
        self.counts: Counter[Reason] = Counter()
        self.seen: dict[int, object] = {}

    @initialize()
    def lease(self) -> None:
        self.hear(speak.lease(), sender=CLIENT)

    def hear(self, *messages: bus_pb2.Message, **options: object) -> Turn:
        turn = self.rig.hear(*messages, **options)  # type: ignore[arg-type]  # sender only
        return self.note(turn)

    def note(self, turn: Turn) -> Turn:
        self.counts.update(turn.counts)
        for delivery in bodies(turn, "delivery"):
            if delivery.sequence:
                status = (delivery.status, delivery.ends_registration)
                assert (
                    delivery.HasField("error")
                    or self.seen.setdefault(delivery.sequence, status) == status
                )
        return turn

    @rule(role=st.sampled_from(ROLES))
    def connect(self, role: str) -> None:
        if role in self.instances:
            return
        instance, self.next_instance = self.next_instance, self.next_instance + 1
        turn = self.hear(speak.connect(instance, speak.device(role)))
        assert [0] == [verdict.response for verdict in bodies(turn, "connect_verdict")]
        self.instances[role], self.sequences[role] = instance, 0

    @precondition(lambda self: self.instances)
    @rule(role=st.sampled_from(ROLES), is_quiet=st.booleans(), is_retried=st.booleans())
    def status(self, role: str, is_quiet: bool, is_retried: bool) -> None:
        instance = self.instances.get(role)
        if instance is None:
            return
        self.sequences[role] += 1
        payload = b"%s%d" % (b"quiet" if is_quiet else b"s", self.next_status)
        self.next_status += 1
        request = speak.status(instance, self.sequences[role], payload)
        turn = self.hear(*[request] * (2 if is_retried else 1))
        commands = speak.answers(turn)
        assert len(commands) == (2 if is_retried else 1)
        assert len(set(commands)) == 1
        self.answered[role].append(payload)
        if commands[0] != b"first":
            assert commands[0] in self.allowed[role], "a command for nobody, or a stale one"
            self.delivered.add(commands[0])

    @rule(role=st.sampled_from(ROLES), is_repeated=st.booleans())
    def command(self, role: str, is_repeated: bool) -> None:
        command = b"%s-%d" % (role.encode(), self.next_command)
        message = speak.forward(speak.device(role), command, self.next_command)
        self.next_command += 1
        turn = self.hear(*[message] * (2 if is_repeated else 1), sender=CLIENT)
        responses = {verdict.response for verdict in bodies(turn, "command_verdict")}
        assert responses == ({0} if self.answered[role] else {1})
        if responses == {0}:
            self.accepted.add(command)
            self.allowed[role].add(command)

    @precondition(lambda self: self.instances)
    @rule(role=st.sampled_from(ROLES), cause=st.sampled_from(ENDS))
    def leave(self, role: str, cause: int) -> None:
        instance = self.instances.pop(role, None)
        if instance is None:
            return
        self.hear(speak.ended(instance, cause))
        self.close_life(role)
        if cause != bus_pb2.REPLY_TIMEOUT:
            self.allowed[role].clear()

    @precondition(lambda self: self.instances)
    @rule(role=st.sampled_from(ROLES), cause=st.sampled_from(ENDS))
    def return_at_once(self, role: str, cause: int) -> None:
        self.leave(role, cause)
        self.connect(role)
        self.status(role, is_quiet=False, is_retried=False)

    def close_life(self, role: str) -> None:
        if self.answered[role]:
            self.lives[role].append(self.answered[role])
            self.answered[role] = []

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5, 16.0]))
    def time_passes(self, seconds: float) -> None:
        self.note(self.rig.pass_time(seconds))
        if seconds >= 2.0:
            for role in ROLES:
                if role not in self.instances or not self.answered[role]:
                    self.allowed[role].clear()  # the grace is over

    @rule()
    def crash(self) -> None:
        self.rig.restart()
        self.note(self.rig.decide(PeerUp(SERVER)))
        lines = [
            (instance, speak.device(role), self.sequences[role])
            for role, instance in self.instances.items()
        ]
        self.hear(speak.live(*lines))
        self.hear(speak.lease(), sender=CLIENT)
        for role in ROLES:
            if not self.answered[role]:
                self.allowed[role].clear()  # whoever was parked has had his grace

    @rule(role=st.sampled_from(ROLES), back=st.integers(0, 5))
    def acknowledge(self, role: str, back: int) -> None:
        entries = self.rig.outbox(speak.device(role))
        if len(entries) > back:
            ack = speak.outbox_ack(speak.device(role), entries[-1 - back].sequence)
            self.hear(ack, sender=CLIENT)

    @invariant()
    def what_was_answered_is_in_the_aggregate(self) -> None:
        registered = {
            who.identity.role: status
            for who, status in self.rig.core._devices.registered(frozenset({MODULE}))
        }
        expected = {
            role: b",".join(statuses) for role, statuses in self.answered.items() if statuses
        }
        assert expected == registered

    @invariant()
    def logs_are_bounded_and_in_order(self) -> None:
        for role in ROLES:
            entries = self.rig.outbox(speak.device(role))
            assert len(entries) <= 8
            numbers = [entry.sequence for entry in entries]
            assert numbers == sorted(set(numbers))

    def teardown(self) -> None:
        for role, instance in list(self.instances.items()):
            self.hear(speak.ended(instance))
            self.close_life(role)
        self.note(self.rig.pass_time(3.0))
        for role in ROLES:
            if self.lives[role]:
                entries = self.rig.outbox(speak.device(role))
                if entries:
                    last = entries[-1]
                    assert (True, b",".join(self.lives[role][-1])) == (
                        last.ends_registration,
                        last.status,
                    )
        dropped = self.counts[Reason.COMMAND_SUPERSEDED] + self.counts[Reason.COMMAND_DEVICE_LEFT]
        assert len(self.accepted - self.delivered) <= dropped


def test_case40_any_order_of_events_loses_no_update() -> None:
    run_state_machine_as_test(
        CoreMachine,
        settings=settings(max_examples=120, stateful_step_count=40, deadline=None),
    )
