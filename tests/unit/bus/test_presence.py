from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from module_gateway.bus.address import Address
from module_gateway.bus.presence import (
    AnswerPresence,
    PeerLost,
    PeerRefused,
    PeerUp,
    PresenceTable,
)
from module_gateway.protocol import bus_pb2

OWN = Address(bus_pb2.INTERNAL_SERVER, 1)
PEER = Address(bus_pb2.MODULE_HANDLER, 2)
OTHER = Address(bus_pb2.MODULE_HANDLER, 3)
SILENCE_S = 4.0


def serving(*modules: int) -> bus_pb2.Presence:
    presence = bus_pb2.Presence()
    for module in modules:
        presence.served.add(module=module, partitions=1)
    return presence


def table() -> PresenceTable:
    return PresenceTable(OWN, SILENCE_S)


def test_an_unknown_boot_id_is_announced_and_answered_with_an_own_heartbeat() -> None:
    assert (AnswerPresence(), PeerUp(PEER, serving(1))) == table().heard(0, PEER, serving(1))


def test_the_next_heartbeat_of_a_known_peer_says_nothing() -> None:
    peers = table()
    peers.heard(0, PEER, serving(1))
    assert () == peers.heard(1, PEER, serving(1))


def test_our_own_heartbeat_means_nothing() -> None:
    peers = table()
    assert () == peers.heard(0, OWN, serving())
    assert {} == peers.peers()


def test_a_changed_presence_is_told_but_not_answered() -> None:
    peers = table()
    peers.heard(0, PEER, serving(1))
    assert (PeerUp(PEER, serving(1, 2)),) == peers.heard(1, PEER, serving(1, 2))
    assert {PEER: serving(1, 2)} == peers.peers()


def test_a_peer_is_lost_after_the_silence_and_not_before() -> None:
    peers = table()
    peers.heard(10, PEER, serving())
    assert peers.next_expiry() == 14
    assert () == peers.expire(13.99)
    assert (PeerLost(PEER),) == peers.expire(14)
    assert () == peers.expire(15)
    assert peers.next_expiry() is None


def test_a_lost_peer_that_is_heard_again_is_up_again_and_answered() -> None:
    peers = table()
    peers.heard(0, PEER, serving())
    peers.expire(SILENCE_S)
    assert (AnswerPresence(), PeerUp(PEER, serving())) == peers.heard(5, PEER, serving())


def test_other_messages_of_a_known_peer_count_as_life() -> None:
    peers = table()
    peers.heard(0, PEER, serving())
    peers.spoke(3, PEER)
    peers.spoke(3, OTHER)
    assert () == peers.expire(6.9)
    assert (PeerLost(PEER),) == peers.expire(7)


def test_peers_are_lost_in_the_order_of_their_silence() -> None:
    peers = table()
    peers.heard(1, PEER, serving())
    peers.heard(0, OTHER, serving())
    assert (PeerLost(OTHER), PeerLost(PEER)) == peers.expire(100)


def test_a_pause_of_our_own_is_nobodys_silence() -> None:
    peers = table()
    peers.heard(0, PEER, serving())
    peers.excuse(10)
    assert () == peers.expire(13.9)
    assert (PeerLost(PEER),) == peers.expire(14)


def test_a_full_table_refuses_newcomers_and_keeps_who_is_there() -> None:
    peers = PresenceTable(OWN, SILENCE_S, max_peers=1)
    peers.heard(0, PEER, serving())
    assert (PeerRefused(OTHER),) == peers.heard(1, OTHER, serving())
    assert () == peers.heard(1, PEER, serving())
    assert {PEER: serving()} == peers.peers()


class PresenceAgainstAModel(RuleBasedStateMachine):
    """The table against the plain statement: known are those heard less than T ago."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.table = table()
        self.heard_at: dict[Address, float] = {}
        self.told: set[Address] = set()

    @rule(seconds=st.floats(0, 6))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        lost = {event.peer for event in self.table.expire(self.now)}
        expected = {a for a, at in self.heard_at.items() if self.now - at >= SILENCE_S}
        assert expected == lost
        for peer in lost:
            del self.heard_at[peer]
        self.told -= lost

    @rule(boot_id=st.integers(1, 5), modules=st.sampled_from([(), (1,), (2,)]))
    def heartbeat(self, boot_id: int, modules: tuple[int, ...]) -> None:
        peer = Address(bus_pb2.MODULE_HANDLER, boot_id)
        events = self.table.heard(self.now, peer, serving(*modules))
        assert (AnswerPresence() in events) == (peer not in self.told)
        self.told |= {event.peer for event in events if isinstance(event, PeerUp)}
        self.heard_at[peer] = self.now

    @invariant()
    def told_and_known_are_the_same(self) -> None:
        assert self.told == set(self.heard_at) == set(self.table.peers())


TestPresenceAgainstAModel = PresenceAgainstAModel.TestCase
TestPresenceAgainstAModel.settings = settings(max_examples=50, stateful_step_count=30)


@given(beats=st.lists(st.floats(0, 3.9), min_size=1, max_size=30))
def test_R6_a_peer_with_heartbeats_closer_than_the_silence_is_never_lost(
    beats: list[float],
) -> None:
    peers, now = table(), 0.0
    for gap in beats:
        peers.heard(now, PEER, serving())
        now += gap
        assert () == peers.expire(now)
