from __future__ import annotations

from module_gateway.external_client.leases import Leases, Registered
from module_gateway.external_client.preparation import FILLING, SNAPSHOT_WAIT_S, Preparation
from module_gateway.protocol import bus_pb2
from tests.unit.external_client.world import EPOCH, MODULE, Handler


def granted(*peers: int) -> Leases:
    leases = Leases(0, EPOCH, (MODULE,))
    for peer in peers:
        leases.handler_up(peer, Handler().presence(), 0.0)
        message = bus_pb2.Message()
        message.lease_granted.epoch = EPOCH
        leases.receive(peer, message, 0.0)
    return leases


def test_round_is_over_when_every_handler_has_answered() -> None:
    preparation = Preparation(granted(1, 2), 0.0)
    assert [1, 2] == [each.peer for each in preparation.ask(0.0)]
    preparation.answered(Registered(1, (), 1))
    assert not preparation.is_round_over(0.0)
    preparation.answered(Registered(2, (), 99))
    assert not preparation.is_round_over(0.0)
    preparation.answered(Registered(2, (), 1))
    assert preparation.is_round_over(0.0)


def test_silent_or_lost_handler_does_not_hold_it_up() -> None:
    preparation = Preparation(granted(1, 2), 0.0)
    preparation.ask(0.0)
    preparation.lost(1)
    assert not preparation.is_round_over(SNAPSHOT_WAIT_S - 0.1)
    assert preparation.is_round_over(SNAPSHOT_WAIT_S)


def test_handler_whose_lease_is_granted_meanwhile_is_asked() -> None:
    leases = granted(1)
    leases.link_up(0.0)
    preparation = Preparation(leases, 0.0)
    assert [] == preparation.ask(0.0)
    asked = preparation.answered(Registered(1, (), 0))
    assert [1] == [each.message.snapshot_request.request for each in asked]
    assert not preparation.is_round_over(0.0)


def test_backlog_under_way_asks_for_another_round_but_not_for_ever() -> None:
    preparation = Preparation(granted(1), 0.0)
    preparation.ask(0.0)
    for _ in range(FILLING):
        preparation.entry_arrived()
    assert preparation.needs_another_round(1.0)
    assert not preparation.needs_another_round(5.0)
    preparation.ask(1.0)
    assert not preparation.needs_another_round(1.0)


def test_without_handlers_there_is_nothing_to_wait_for() -> None:
    preparation = Preparation(granted(), 0.0)
    preparation.ask(0.0)
    assert preparation.is_round_over(0.0)
