"""How far the deliveries of one lane are."""

from __future__ import annotations

from module_gateway.external_client.delivery_stream import DeliveryStream


def test_released_is_the_contiguous_front_in_whatever_order() -> None:
    stream = DeliveryStream()
    fronts = []
    for delivery in (1, 3, 4, 2, 6, 5):
        stream.release(delivery)
        fronts.append(stream.released)
    assert [1, 1, 1, 4, 4, 6] == fronts
