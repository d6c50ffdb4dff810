from __future__ import annotations

import pytest

from module_gateway.protocol import external
from module_gateway.protocol.errors import Reason, RemoteProtocolError
from module_gateway.protocol.identity import Identity
from tests.golden import BUTTON, EXTERNAL_SERVER_PAYLOADS, GATEWAY_PAYLOADS, SESSION


@pytest.mark.parametrize("name", GATEWAY_PAYLOADS)
def test_W1_gateway_payloads_are_golden_in_both_directions(name):
    golden, message = GATEWAY_PAYLOADS[name]

    assert golden == external.encode(message).hex()
    assert message == external.decode_client_message(bytes.fromhex(golden))


@pytest.mark.parametrize("name", EXTERNAL_SERVER_PAYLOADS)
def test_W1_external_server_payloads_are_golden_in_both_directions(name):
    golden, message = EXTERNAL_SERVER_PAYLOADS[name]

    assert golden == external.encode(message).hex()
    assert message == external.decode_server_message(bytes.fromhex(golden))


def test_W9_a_payload_is_the_bare_message_without_a_length():
    payload = external.encode(external.CommandResponse(SESSION, 0, 0))

    assert payload[0] == 0x1A  # field 3 of ExternalClient, not a length


def test_an_empty_error_is_not_the_same_as_none():
    status = external.Status(SESSION, 0, 1, BUTTON, b"", b"")

    assert status == external.decode_client_message(external.encode(status))
    assert status != status._replace(error=None)


def test_the_extension_travels_and_old_peers_see_the_plain_status():
    plain = external.Status(SESSION, 1, 2, BUTTON, b"x")
    extended = plain._replace(
        position=external.Position(2**63, 9), time_unix_ms=5, is_replayed=True
    )

    assert extended == external.decode_client_message(external.encode(extended))
    assert external.encode(extended).find(external.encode(plain)[2:]) > 0


def test_applied_positions_travel_with_the_connect_response():
    response = external.ConnectResponse(
        SESSION, 0, ((Identity(1000, 0, "left"), external.Position(7, 8)),)
    )

    assert response == external.decode_server_message(external.encode(response))


@pytest.mark.parametrize("decode", [external.decode_client_message, external.decode_server_message])
@pytest.mark.parametrize(
    ("payload", "reason"), [(b"\xff\xff", Reason.UNDECODABLE), (b"", Reason.NO_MESSAGE)]
)
def test_bad_payloads_have_a_reason(decode, payload, reason):
    with pytest.raises(RemoteProtocolError) as caught:
        decode(payload)

    assert reason == caught.value.reason


def test_topics_of_a_vehicle():
    assert (
        "acme/truck_1/module_gateway",
        "acme/truck_1/external_server",
        "acme/truck_1/external_server_disconnect",
    ) == external.Topics.of("acme", "truck_1")
