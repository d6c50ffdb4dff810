from __future__ import annotations

from module_gateway.control_plane.records import StatusRecord, VehicleName


def test_a_status_weighs_its_payload_and_its_error():
    assert StatusRecord(1, 0, 0, b"12345").size_bytes == 5
    assert StatusRecord(1, 0, 0, b"12345", b"123").size_bytes == 8


def test_a_vehicle_is_written_as_in_its_topics():
    assert str(VehicleName("acme", "van_1")) == "acme/van_1"
