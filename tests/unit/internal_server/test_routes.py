"""Which handler owns a device."""

from __future__ import annotations

from module_gateway.bus.address import Address
from module_gateway.internal_server.routes import REMEMBERED_LIVES, Routes
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Identity

ALL = 2**64 - 1
DEVICE = Identity(1000, 0, "left_button")


def handler(boot_id: int) -> Address:
    return Address(bus_pb2.MODULE_HANDLER, boot_id)


def serving(module: int, partitions: int = ALL) -> bus_pb2.Presence:
    served = bus_pb2.Presence.Served(module=module, partitions=partitions)
    return bus_pb2.Presence(served=[served])


def test_nobody_owns_a_device_before_a_handler_claims_its_module():
    routes = Routes()
    assert routes.owner(DEVICE) is None
    routes.announce(handler(7), serving(1))
    assert routes.owner(DEVICE) is None


def test_the_claiming_handler_owns_it_until_it_is_lost():
    routes = Routes()
    routes.announce(handler(7), serving(1000))
    assert routes.owner(DEVICE) == handler(7)
    routes.forget(handler(7))
    assert routes.owner(DEVICE) is None


def test_partitions_divide_a_module():
    routes = Routes()
    routes.announce(handler(7), serving(1000, 1 << DEVICE.partition))
    routes.announce(handler(8), serving(1000, ALL ^ 1 << DEVICE.partition))
    assert routes.owner(DEVICE) == handler(7)
    other = next(
        identity
        for identity in (Identity(1000, 0, f"role{n}") for n in range(100))
        if identity.partition != DEVICE.partition
    )
    assert routes.owner(other) == handler(8)


def test_the_newer_life_wins_even_when_the_older_one_speaks_again():
    routes = Routes()
    routes.announce(handler(7), serving(1000))
    routes.announce(handler(8), serving(1000))
    assert routes.owner(DEVICE) == handler(8)
    routes.announce(handler(7), serving(1000))
    assert routes.owner(DEVICE) == handler(8)


def test_the_older_life_stays_older_after_it_was_lost():
    routes = Routes()
    routes.announce(handler(7), serving(1000))
    routes.announce(handler(8), serving(1000))
    routes.forget(handler(7))
    routes.announce(handler(7), serving(1000))
    assert routes.owner(DEVICE) == handler(8)
    routes.forget(handler(8))
    assert routes.owner(DEVICE) == handler(7)


def test_a_new_announcement_replaces_the_old_one():
    routes = Routes()
    routes.announce(handler(7), serving(1000))
    routes.announce(handler(7), serving(1))
    assert routes.owner(DEVICE) is None


def test_lives_are_not_remembered_without_bound():
    routes = Routes()
    for boot_id in range(1, 3 * REMEMBERED_LIVES):
        routes.announce(handler(boot_id), serving(1000))
        routes.forget(handler(boot_id))
    assert len(routes._ranks) == REMEMBERED_LIVES


def test_the_owners_are_those_whose_claims_win_somewhere():
    routes = Routes()
    assert routes.owners == frozenset()
    routes.announce(handler(1), serving(1000))
    routes.announce(handler(2), serving(1000, 1))
    assert routes.owners == {handler(1), handler(2)}
    routes.announce(handler(3), serving(1000))
    assert routes.owners == {handler(3)}
    routes.forget(handler(3))
    assert routes.owners == {handler(1), handler(2)}
