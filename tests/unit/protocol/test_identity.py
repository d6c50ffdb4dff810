from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from module_gateway.protocol import internal_protocol_pb2 as pb
from module_gateway.protocol.identity import PARTITIONS, Device, Identity


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**32 - 1),
    st.text(),
    st.text(),
    st.integers(0, 2**32 - 1),
)
def test_a_device_survives_the_wire(module, device_type, role, name, priority):
    device = Device.of(module, device_type, role, name, priority)
    message = pb.Device()
    device.write_to(message)
    parsed = pb.Device.FromString(message.SerializeToString())

    assert device == Device.from_message(parsed)


def test_name_and_priority_are_not_identity():
    assert Device.of(1, 2, "r", "a", 0).identity == Device.of(1, 2, "r", "b", 9).identity


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (Device.of(1, 2, "r"), "1/2/r"),
        (Device.of(1, 2, "r", "r"), "1/2/r"),
        (Device.of(1, 2, "r", "Left", 3), "1/2/r ('Left', priority 3)"),
        (Device.of(1, 2, "r", "r", 3), "1/2/r (priority 3)"),
    ],
)
def test_a_device_is_printed_as_its_identity_and_what_says_more(device, text):
    assert str(device) == text


def test_the_partition_is_crc32_of_the_printed_identity():
    identity = Identity(1000, 0, "left_button")

    assert zlib.crc32(b"1000/0/left_button") % 64 == identity.partition


@given(st.text())
def test_every_role_has_a_partition(role):
    assert 0 <= Identity(1, 1, role).partition < PARTITIONS
