"""What is open towards a handler, and the fingerprint of it."""

from __future__ import annotations

from collections import deque

import pytest

from module_gateway.bus.address import Address
from module_gateway.internal_server import events as ev
from module_gateway.internal_server.connections import LEAST_UNANSWERED, PART_SIZE, HandlerPeer
from module_gateway.internal_server.rules import SessionRules
from module_gateway.internal_server.session import DeviceSession
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import encode_connect, encode_status
from module_gateway.protocol.live_digest import mix64
from tests.golden import BUTTON


def peer(bound: int = 4) -> HandlerPeer:
    return HandlerPeer(Address(bus_pb2.MODULE_HANDLER, 7), bound)


def session_of(device: Device, statuses: int = 0) -> DeviceSession:
    session = DeviceSession(SessionRules(admit=lambda _device: None), 0.0)
    session.step(ev.BytesReceived(encode_connect(device)), 0.0)
    if statuses:
        session.step(ev.VerdictArrived(0), 0.0)
    for number in range(1, statuses + 1):
        session.step(ev.BytesReceived(encode_status(device, b"")), 0.0)
        session.step(ev.ReplyArrived(number, b""), 0.0)
    return session


def test_R6_the_digest_is_count_and_exclusive_or_of_the_mixed_instances():
    handler = peer()
    for instance in (1, 2, 3):
        handler.add(instance, session_of(BUTTON))
    handler.remove(2)
    assert handler.digest() == bus_pb2.LiveDigest(count=2, digest=mix64(1) ^ mix64(3))
    handler.remove(1)
    handler.remove(3)
    assert handler.digest() == bus_pb2.LiveDigest(count=0, digest=0)


def test_adding_twice_and_removing_twice_change_nothing():
    handler = peer()
    handler.add(5, session_of(BUTTON))
    handler.add(5, session_of(BUTTON))
    assert handler.digest().digest == mix64(5)
    handler.remove(6)
    handler.remove(5)
    handler.remove(5)
    assert (len(handler), handler.digest().digest) == (0, 0)


def test_the_list_tells_device_sequence_and_decision():
    handler = peer()
    handler.add(3, session_of(BUTTON))
    handler.add(4, session_of(BUTTON, statuses=2))
    (part,) = handler.live_connections()
    assert (part.is_first, part.is_last) == (True, True)
    assert [(c.instance, c.last_sequence, c.is_decided) for c in part.connections] == [
        (3, 0, False),
        (4, 2, True),
    ]
    assert [Device.from_message(c.device) for c in part.connections] == [BUTTON, BUTTON]


def test_an_empty_list_is_said_too():
    (part,) = peer().live_connections()
    assert part == bus_pb2.LiveConnections(is_first=True, is_last=True)


def test_a_long_list_travels_in_parts():
    handler = peer()
    session = session_of(BUTTON)
    for instance in range(1, 2 * PART_SIZE + 2):
        handler.add(instance, session)
    parts = list(handler.live_connections())
    assert [(len(p.connections), p.is_first, p.is_last) for p in parts] == [
        (PART_SIZE, True, False),
        (PART_SIZE, False, False),
        (1, False, True),
    ]


def test_a_full_list_has_no_empty_last_part():
    handler = peer()
    for instance in range(1, PART_SIZE + 1):
        handler.add(instance, session_of(BUTTON))
    assert [p.is_last for p in handler.live_connections()] == [True]


def test_a_handler_is_saturated_at_its_bound_until_half_is_answered():
    handler = peer(bound=4)
    for _ in range(3):
        handler.asked()
    assert not handler.is_saturated
    handler.asked()
    assert handler.is_saturated
    assert [handler.settled(was_slow=False), handler.settled(was_slow=False)] == [False, True]
    assert not handler.is_saturated
    assert handler.unanswered == 2


def busy(handler: HandlerPeer, requests: int) -> HandlerPeer:
    for _ in range(requests):
        handler.asked()
    return handler


def test_a_slow_answer_halves_what_was_outstanding():
    handler = busy(peer(bound=5000), 400)
    handler.settled(was_slow=True)
    assert handler.limit == 200


def test_a_whole_round_of_slow_answers_halves_once():
    handler = busy(peer(bound=5000), 400)
    for _ in range(400):
        handler.settled(was_slow=True)
    assert handler.limit == 200
    busy(handler, 200).settled(was_slow=True)
    assert handler.limit == 100


def test_the_slowest_handler_may_still_be_asked_something():
    handler = peer(bound=5000)
    for _ in range(20):
        busy(handler, 1).settled(was_slow=True)
    assert handler.limit == LEAST_UNANSWERED
    small = busy(peer(bound=2), 1)
    small.settled(was_slow=True)
    assert small.limit == 2


def test_answers_in_time_let_the_limit_grow_back_to_its_bound_while_it_is_needed():
    handler = busy(peer(bound=100), 100)
    for _ in range(100):
        handler.settled(was_slow=True)
    assert handler.limit == 50
    busy(handler, 10).settled(was_slow=False)
    assert handler.limit == 50, "nobody asked for more"
    for _ in range(1000):
        while not handler.is_saturated:
            handler.asked()
        while handler.is_saturated:
            handler.settled(was_slow=False)
    assert handler.limit == 100


WINDOW_MS = 250
SLOW_MS = 125


def crowd(handler: HandlerPeer, devices: int, served_per_ms: int) -> tuple[int, int]:
    """Devices that all come at once and again when their window ends, and a handler that serves
    what it was asked in turn, also for those who left; the milliseconds and requests it takes."""
    waiting, asked, queue = deque(range(devices)), dict[int, int](), deque[tuple[int, int]]()
    requests = 0
    for now in range(10_000):
        for device in [each for each, at in asked.items() if now - at >= WINDOW_MS]:
            del asked[device]
            handler.settled(was_slow=True)
            waiting.append(device)
        for _ in range(min(served_per_ms, len(queue))):
            device, at = queue.popleft()
            if asked.get(device) == at:
                del asked[device]
                handler.settled(was_slow=now - at >= SLOW_MS)
        while waiting and not handler.is_saturated:
            asked[waiting[0]] = now
            queue.append((waiting.popleft(), now))
            handler.asked()
            requests += 1
        if not waiting and not asked:
            return now, requests
    return 10_000, requests


@pytest.mark.parametrize("served_per_ms", [1, 2, 3])
def test_a_thousand_devices_at_once_are_served_without_a_storm(served_per_ms: int):
    took_ms, requests = crowd(peer(bound=5000), 1000, served_per_ms)
    assert took_ms < 5 * 1000 / served_per_ms
    assert requests < 4000


def test_a_crowd_that_can_be_served_in_time_is_asked_about_at_once():
    assert crowd(peer(bound=5000), 1000, 10) == (100, 1000)
