"""Devices as they come off the wire, each the same object every time."""

from __future__ import annotations

from module_gateway.external_client.known_devices import KnownDevices
from module_gateway.protocol import internal_protocol_pb2 as pb
from module_gateway.protocol.identity import Device


def words(device: Device) -> pb.Device:
    message = pb.Device()
    device.write_to(message)
    return message


A = Device.of(1, 2, "a", "name", 3)


def test_same_words_are_the_same_object() -> None:
    known = KnownDevices()
    first = known.read(words(A))
    assert A == first
    assert first is known.read(words(A))


def test_devices_that_differ_in_name_or_priority_alone_are_told_apart() -> None:
    known = KnownDevices()
    others = [Device(A.identity, "another", 3), Device(A.identity, "name", 4)]
    assert [A, *others] == [known.read(words(each)) for each in (A, *others)]


def test_beyond_the_bound_everybody_is_read_again() -> None:
    known = KnownDevices(bound=2)
    devices = [Device.of(1, 2, role) for role in "abca"]
    assert devices == [known.read(words(each)) for each in devices]
    assert 2 == len(known._devices)
