from __future__ import annotations

import pytest

from module_gateway.bus.address import PRESENCE_TOPIC, Address, new_boot_id
from module_gateway.protocol import bus_pb2


@pytest.mark.parametrize(
    ("kind", "topic"),
    [
        (bus_pb2.INTERNAL_SERVER, "mg/1/server/7"),
        (bus_pb2.MODULE_HANDLER, "mg/1/handler/7"),
        (bus_pb2.EXTERNAL_CLIENT, "mg/1/client/7"),
        (bus_pb2.TOOL, "mg/1/tool/7"),
    ],
)
def test_each_kind_of_process_listens_on_its_own_topic(kind: int, topic: str) -> None:
    assert topic == Address(kind, 7).topic
    assert topic.removeprefix("mg/1/") == str(Address(kind, 7))


def test_the_presence_topic_belongs_to_no_process() -> None:
    assert PRESENCE_TOPIC == "mg/1/presence/0"


@pytest.mark.parametrize(
    "address",
    [
        Address(bus_pb2.UNKNOWN, 1),
        Address(5, 1),
        Address(bus_pb2.MODULE_HANDLER, 0),
        Address(bus_pb2.MODULE_HANDLER, 2**64),
    ],
)
def test_an_address_that_no_process_can_have_is_not_valid(address: Address) -> None:
    assert not address.is_valid


def test_boot_ids_are_valid_and_differ() -> None:
    boot_ids = {new_boot_id() for _ in range(1000)}
    assert len(boot_ids) == 1000
    assert all(Address(bus_pb2.MODULE_HANDLER, boot_id).is_valid for boot_id in boot_ids)
