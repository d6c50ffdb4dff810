"""The Connect and its repeats (decisions "Recovery within 0.5 s")."""

from __future__ import annotations

from module_gateway.external_client.calling import MOST_NOTICED, REPEAT_S, Calling, connect_for
from module_gateway.external_client.effects import Guest, Publish
from module_gateway.external_client.rules import Rules
from tests.unit.external_client.world import device

GUESTS = (Guest(device("a"), b"1"), Guest(device("b"), b"2"))
RULES = Rules("acme", "van", {})
CONNECT = connect_for("session1", GUESTS, RULES)
SAID = Publish(CONNECT)


def test_connect_lists_the_guests_in_order() -> None:
    assert (device("a"), device("b")) == CONNECT.devices
    assert ("session1", "acme", "van") == (CONNECT.session_id, CONNECT.company, CONNECT.vehicle)


def test_existing_server_hears_it_once() -> None:
    calling = Calling(CONNECT, listens=False, is_expected=True)
    assert SAID == calling.say(0.0)
    assert calling.again_at is None
    assert [] == calling.due(100.0)
    assert [] == calling.noticed(1.0)


def test_listening_peer_of_whom_there_is_news_hears_it_until_it_answers() -> None:
    calling = Calling(CONNECT, listens=True, is_expected=True)
    calling.say(10.0)
    assert 10.0 + REPEAT_S == calling.again_at
    assert [] == calling.due(10.0)
    assert [SAID] == calling.due(10.0 + REPEAT_S)
    assert [SAID] == calling.due(11.0)
    calling.again_at = None
    assert [] == calling.due(20.0)


def test_listening_peer_without_news_hears_it_once() -> None:
    calling = Calling(CONNECT, listens=True, is_expected=False)
    calling.say(10.0)
    assert [] == calling.due(20.0)


def test_each_notification_repeats_it_a_few_times() -> None:
    calling = Calling(CONNECT, listens=True, is_expected=False)
    calling.say(0.0)
    heard = [calling.noticed(1.0) for _ in range(MOST_NOTICED + 1)]
    assert [[SAID]] * MOST_NOTICED + [[]] == heard
