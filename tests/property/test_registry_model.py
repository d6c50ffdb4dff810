"""Random schedules on the registry: at most one holder, and nobody is refused without proof.

Fault matrix I1 (races of equals) and I2 (takeover races). Two internal servers with devices of a
few identities and priorities; messages arrive late or never, servers fall silent, lists correct
what was lost. The model is what the servers really have open.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from module_gateway.module_handler.outcomes import (
    Accepted,
    Adopted,
    CloseWanted,
    HolderEnded,
    ListWanted,
    Outcome,
    ProbeWanted,
    Refused,
)
from module_gateway.module_handler.registry import Listed, Registry
from module_gateway.module_handler.roster import Connection, Seat, Standing
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device, Identity

WINDOW_S = 0.15
LOST_S = 4.0
SERVERS = (1, 2)
RARELY = st.integers(0, 7).map(lambda number: number == 7)


@dataclass
class Server:
    """One internal server as it really is."""

    open: dict[int, Device] = field(default_factory=dict)
    decided: set[int] = field(default_factory=set)


class RegistryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry(WINDOW_S, LOST_S)
        self.now = 100.0
        self.servers = {number: Server() for number in SERVERS}
        self.next_instance = 1
        self.holders: dict[Identity, Seat] = {}
        self.probes: list[Connection] = []
        self.closes: list[tuple[Connection, int]] = []
        self.proofs: dict[Connection, float] = {}
        self.asked_at: dict[Connection, float] = {}

    def apply(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            match outcome:
                case Accepted(seat) | Adopted(seat):
                    former = self.holders.get(seat.identity)
                    assert former is None or former is seat, "two holders at once"
                    self.holders[seat.identity] = seat
                    server, instance = seat.connection
                    if instance in self.servers[server].open:
                        self.servers[server].decided.add(instance)
                case HolderEnded(seat, _):
                    assert self.holders.pop(seat.identity) is seat
                case Refused(seat, _):
                    self.assert_proven(seat)
                    self.close_here(seat.connection)
                case ProbeWanted(connection):
                    self.probes.append(connection)
                case CloseWanted(connection, cause, _):
                    self.closes.append((connection, cause))
                case ListWanted():
                    pass

    def assert_proven(self, newcomer: Seat) -> None:
        holder = self.holders.get(newcomer.identity)
        assert holder is not None, "refused although nobody holds it"
        assert self.proofs.get(holder.connection, -1.0) >= self.asked_at[newcomer.connection]
        assert newcomer.device.priority >= holder.device.priority

    def close_here(self, connection: Connection) -> None:
        server = self.servers[connection.server]
        server.open.pop(connection.instance, None)
        server.decided.discard(connection.instance)

    @rule(
        server=st.sampled_from(SERVERS),
        role=st.sampled_from("ab"),
        priority=st.integers(0, 2),
        is_lost=RARELY,
    )
    def connect(self, server: int, role: str, priority: int, is_lost: bool) -> None:
        instance, self.next_instance = self.next_instance, self.next_instance + 1
        device = Device.of(7, 0, role, priority=priority)
        connection = Connection(server, instance)
        self.servers[server].open[instance] = device
        self.asked_at[connection] = self.now
        if not is_lost:
            self.apply(self.registry.connect(connection, device))
            self.apply(self.registry.admit(self.now))

    @rule(
        role=st.sampled_from("ab"),
        newcomers=st.lists(
            st.tuples(st.sampled_from(SERVERS), st.integers(0, 2)), min_size=2, max_size=4
        ),
    )
    def race(self, role: str, newcomers: list[tuple[int, int]]) -> None:
        """Several sockets in the same millisecond."""
        for server, priority in newcomers:
            self.connect(server, role, priority, is_lost=False)

    @precondition(lambda self: any(server.open for server in self.servers.values()))
    @rule(choice=st.randoms(use_true_random=False), is_lost=RARELY)
    def device_leaves(self, choice: object, is_lost: bool) -> None:
        connections = [
            Connection(number, instance)
            for number, server in self.servers.items()
            for instance in server.open
        ]
        connection = choice.choice(connections)  # type: ignore[attr-defined]  # a Random
        self.close_here(connection)
        if not is_lost:
            self.apply(self.registry.end(connection, bus_pb2.CLOSED_BY_PEER, self.now))

    @precondition(lambda self: self.probes)
    @rule(is_lost=RARELY)
    def probe_is_answered(self, is_lost: bool) -> None:
        connection = self.probes.pop(0)
        is_alive = connection.instance in self.servers[connection.server].open
        if not is_lost:
            if is_alive:
                self.proofs[connection] = self.now
            self.apply(self.registry.answer_probe(connection, is_alive=is_alive, now=self.now))

    @precondition(lambda self: self.closes)
    @rule(is_lost=RARELY)
    def close_is_obeyed(self, is_lost: bool) -> None:
        connection, cause = self.closes.pop(0)
        if not is_lost:
            self.close_here(connection)
            self.apply(self.registry.end(connection, cause, self.now))

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.16, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.apply(self.registry.expire(self.now))

    @rule(server=st.sampled_from(SERVERS))
    def server_falls_silent(self, server: int) -> None:
        self.registry.server_lost(server, self.now)

    @rule(server=st.sampled_from(SERVERS))
    def server_lists(self, server: int) -> None:
        self.registry.server_up(server)
        real = self.servers[server]
        listed = [
            Listed(instance, device, 0, instance in real.decided)
            for instance, device in real.open.items()
        ]
        self.apply(
            self.registry.reconcile(server, listed, is_first=True, is_last=True, now=self.now)
        )
        for instance in list(real.open):
            seat = self.registry.seat(server, instance)
            if seat is None:
                assert instance not in real.decided, "a live decided connection is unknown"
        for seat in self.known(server):
            assert seat.connection.instance in real.open, "the list did not win"

    def known(self, server: int) -> list[Seat]:
        return [
            seat
            for instance in range(1, self.next_instance)
            if (seat := self.registry.seat(server, instance)) is not None
        ]

    @invariant()
    def one_holder_per_identity(self) -> None:
        seats = [
            seat
            for server in SERVERS
            for seat in self.known(server)
            if seat.standing is Standing.HOLDER
        ]
        identities = [seat.identity for seat in seats]
        assert len(identities) == len(set(identities))
        assert {seat.identity: seat for seat in seats} == self.holders
        for identity, seat in self.holders.items():
            assert self.registry.holder(identity) is seat

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        waiting = [
            seat
            for server in SERVERS
            for seat in self.known(server)
            if seat.standing is Standing.WAITING
        ]
        assert not waiting or self.registry.next_due() is not None


def test_at_most_one_holder_and_no_refusal_without_proof() -> None:
    run_state_machine_as_test(
        RegistryMachine,
        settings=settings(max_examples=250, stateful_step_count=40, deadline=None),
    )
