"""What goes to systemd, on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from module_gateway.runtime.notify import STATUS_CHARS, Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


def environment(listening: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(listening.getsockname()), **more}


def test_the_life_of_a_service_is_told_in_the_words_of_systemd(systemd: socket.socket) -> None:
    notifier = Notifier.from_environment(environment(systemd), 7)
    notifier.ready("devices=127.0.0.1:8888")
    notifier.alive()
    notifier.say("two\nlines" + "x" * STATUS_CHARS)
    notifier.stopping()
    notifier.close()
    notifier.alive()

    assert [systemd.recv(1000) for _ in range(4)] == [
        b"READY=1\nSTATUS=devices=127.0.0.1:8888",
        b"WATCHDOG=1",
        b"STATUS=two lines" + b"x" * (STATUS_CHARS - 9),
        b"STOPPING=1\nSTATUS=stopping",
    ]
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(1000)


def test_an_abstract_address_is_understood() -> None:
    name = f"module-gateway-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(10)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": "@" + name}, 7)
        notifier.alive()
        notifier.close()

        assert listening.recv(100) == b"WATCHDOG=1"


def test_a_socket_of_our_supervisor_comes_before_that_of_systemd(systemd: socket.socket) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours:
        number = os.dup(theirs.fileno())
        theirs.close()
        variables = environment(systemd, MODULE_GATEWAY_NOTIFY_FD=str(number))
        notifier = Notifier.from_environment(variables, 7)
        assert not os.get_inheritable(number)
        notifier.alive()

        assert ours.recv(100) == b"WATCHDOG=1"
        notifier.close()


@pytest.mark.parametrize(
    ("variables", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_has_a_time(
    systemd: socket.socket, variables: dict[str, str], watchdog_s: float | None
) -> None:
    notifier = Notifier.from_environment(environment(systemd, **variables), 7)
    notifier.close()

    assert notifier.watchdog_s == watchdog_s


def test_a_watchdog_of_another_process_is_not_ours(systemd: socket.socket) -> None:
    variables = environment(systemd, WATCHDOG_USEC="30000000", WATCHDOG_PID="8")
    notifier = Notifier.from_environment(variables, 7)
    notifier.close()

    assert notifier.watchdog_s is None


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"NOTIFY_SOCKET": "vsock:2:3"},
        {"NOTIFY_SOCKET": "/no/such/socket"},
        {"MODULE_GATEWAY_NOTIFY_FD": "99999"},
        {"MODULE_GATEWAY_NOTIFY_FD": "x"},
    ],
)
def test_where_nobody_listens_nothing_happens(variables: dict[str, str]) -> None:
    notifier = Notifier.from_environment(variables, 7)
    notifier.ready("yes")
    notifier.alive()
    notifier.close()


def test_a_listener_that_does_not_read_holds_nobody_up() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours:
        notifier = Notifier(theirs)
        for _ in range(10_000):
            notifier.alive()
        notifier.close()

        assert ours.recv(100) == b"WATCHDOG=1"
