"""Local brokers: how to start one of our own.

Mosquitto on a Unix socket where it is installed, else the embedded broker over loopback TCP.
Why each line of the configuration: performance 0 and 4.
"""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from module_gateway.bus.location import (
    DEFAULT_PORT,
    HOST_VARIABLE,
    PORT_VARIABLE,
    SOCKET_VARIABLE,
    BusLocation,
    socket_in,
)
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.settings import BusSettings

LOOPBACK: Final = "127.0.0.1"
QUEUE_BYTES: Final = 256 * 1024 * 1024  # of one client; the senders' own bounds are far below
EMBEDDED: Final = "module_gateway.runtime.embedded_broker"
ADMIN_FOLDERS: Final = "/usr/sbin:/usr/local/sbin"  # Debian's place, not on everybody's PATH

SPARE_PORTS: Final = range(18830, 18880)
ANSWER_TIMEOUT_S: Final = 1.0
MQTT_CONNECT: Final = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x05\x00\x05probe"
"""MQTT 3.1.1 CONNECT: clean session, keep-alive 5 s, client id "probe"."""
MQTT_ACCEPTED: Final = b"\x20\x02\x00\x00"
MQTT_DISCONNECT: Final = b"\xe0\x00"


@dataclass(frozen=True, slots=True)
class BrokerPlan:
    """One broker that is to be started, and what its clients must know."""

    command: tuple[str, ...]
    location: BusLocation
    environment: Mapping[str, str]
    """For the clients, so that they find it."""
    notice: str = ""


def find_mosquitto(environ: Mapping[str, str]) -> str | None:
    """The path of the installed Mosquitto, None when there is none."""
    folders = f"{environ.get('PATH', '')}:{ADMIN_FOLDERS}"
    return shutil.which("mosquitto", path=folders)


def is_told_where(settings: BusSettings, environ: Mapping[str, str]) -> bool:
    """Environment or configuration name a bus: nothing of our own is to be started."""
    variables = (HOST_VARIABLE, PORT_VARIABLE, SOCKET_VARIABLE)
    is_named = any(environ.get(variable) for variable in variables)
    return is_named or settings.socket is not None or settings.host is not None


def mosquitto_conf(*, bus: Path | None, tcp_port: int | None, user: str | None) -> str:
    """The text of a configuration file with a Unix socket, a loopback port or both."""
    lines = [
        "# Written at every start: changes are lost.",
        *([f"user {user}"] if user is not None else []),
        "per_listener_settings false",
        *([f"listener 0 {bus}"] if bus is not None else []),
        *([f"listener {tcp_port} {LOOPBACK}"] if tcp_port is not None else []),
        "allow_anonymous true",
        "persistence false",
        "max_inflight_messages 0",
        "max_queued_messages 0",
        f"max_queued_bytes {QUEUE_BYTES}",
        # On a Unix socket it cannot be set, and Mosquitto would warn at each connection.
        *(["set_tcp_nodelay true"] if bus is None else []),
        "connection_messages false",
        "log_dest stdout",
        "log_timestamp false",
        "log_type error",
        "log_type warning",
        "log_type notice",
    ]
    return "\n".join(lines) + "\n"


def is_port_free(port: int) -> bool:
    """Whether a listener of ours could have this loopback port now."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def plan_bus(
    state_dir: Path, environ: Mapping[str, str], embedded_port: int | None = None
) -> BrokerPlan:
    """The bus broker of this state folder; writes its configuration file.

    `embedded_port` is where clients know the embedded broker already, if they do.

    Raises:
        ConfigError: the folder's path is too long for a Unix socket.
    """
    program = find_mosquitto(environ)
    tcp_port = DEFAULT_PORT if is_port_free(DEFAULT_PORT) else None
    if program is None:
        return _embedded(embedded_port or tcp_port or _spare_port(), "the bus")
    path = socket_in(state_dir)
    conf = mosquitto_conf(bus=path, tcp_port=tcp_port, user=_owner(state_dir))
    return BrokerPlan(
        (program, "-c", str(_write(state_dir / "bus-broker.conf", conf))),
        BusLocation(path),
        # Without it a client that starts while the broker is down would look elsewhere.
        {SOCKET_VARIABLE: str(path)},
        "" if tcp_port else f"{LOOPBACK}:{DEFAULT_PORT} is taken: the bus has its socket only",
    )


def plan_upstream(state_dir: Path, port: int, environ: Mapping[str, str]) -> BrokerPlan:
    """The demo's broker between gateway and control plane, on loopback.

    Raises:
        ConfigError: the port is taken.
    """
    if not is_port_free(port):
        raise ConfigError(
            "control-plane-settings.broker-port",
            got=port,
            expected=f"a free port of {LOOPBACK}",
            hint=os.strerror(errno.EADDRINUSE).lower(),
        )
    program = find_mosquitto(environ)
    if program is None:
        return _embedded(port, "the upstream broker")
    conf = mosquitto_conf(bus=None, tcp_port=port, user=_owner(state_dir))
    path = _write(state_dir / "upstream-broker.conf", conf)
    return BrokerPlan((program, "-c", str(path)), BusLocation(None, LOOPBACK, port), {})


async def answers(location: BusLocation) -> bool:
    """Whether a broker there takes an MQTT client now; asks within a second."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            if location.socket is not None:
                reader, writer = await asyncio.open_unix_connection(location.socket)
            else:
                reader, writer = await asyncio.open_connection(location.host, location.port)
            try:
                writer.write(MQTT_CONNECT)
                answer = await reader.readexactly(len(MQTT_ACCEPTED))
                writer.write(MQTT_DISCONNECT)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    return answer == MQTT_ACCEPTED


def _embedded(port: int, what: str) -> BrokerPlan:
    return BrokerPlan(
        (sys.executable, "-m", EMBEDDED, "--port", str(port)),
        BusLocation(None, LOOPBACK, port),
        {HOST_VARIABLE: LOOPBACK, PORT_VARIABLE: str(port)},
        f"mosquitto is not installed: {what} is the embedded broker, which is slower "
        "(apt install mosquitto)",
    )


def _spare_port() -> int:
    """A free port below those that the system gives to clients.

    Among those, a client that tries again and again while the broker is away would sooner or
    later be connected to itself and keep the port.

    Raises:
        ConfigError: all are taken.
    """
    for port in SPARE_PORTS:
        if is_port_free(port):
            return port
    raise ConfigError(
        "the embedded broker's port",
        got="taken",
        expected=f"a free one from {SPARE_PORTS[0]} to {SPARE_PORTS[-1]} on {LOOPBACK}",
    )


def _owner(state_dir: Path) -> str | None:
    """Started as root, Mosquitto becomes another user and could not use the folder."""
    if os.geteuid() != 0:
        return None
    return pwd.getpwuid(state_dir.stat().st_uid).pw_name


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
