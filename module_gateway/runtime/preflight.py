"""What would stop a gateway from starting, found before anything is started.

So nothing starts half, and the operator reads one list instead of the ends of four processes.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from module_gateway.bus.location import socket_in
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.broker import LOOPBACK, find_mosquitto, is_told_where
from module_gateway.runtime.metrics import HOST
from module_gateway.runtime.settings import Endpoint, Settings

PROCESSES: Final = ("internal_server", "module_handler", "external_client")
DEMO_PROCESS: Final = "control_plane"
ANYWHERE: Final = {"", "0.0.0.0", "::"}  # noqa: S104 - recognised, not used


@dataclass(frozen=True, slots=True)
class Listener:
    """One address that a process of ours wants."""

    what: str
    host: str
    port: int
    key: str
    """The setting that changes it."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason not to start, and what to do about it."""

    text: str
    remedy: str
    is_passing: bool = False
    """It may go away by itself, such as the port of a process that is about to end."""

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}"


def listeners(settings: Settings, *, is_demo: bool) -> list[Listener]:
    """Every fixed address of this machine that will be listened on; port 0 is none."""
    server = settings.internal_server_settings
    wanted = [
        Listener(
            "devices",
            server.ip_address or LOOPBACK,
            server.port,
            "--port or internal-server-settings.port",
        )
    ]
    names: tuple[str, ...] = PROCESSES
    if is_demo:
        names = (*PROCESSES, DEMO_PROCESS)
        own = settings.control_plane_settings
        section = "control-plane-settings"
        wanted += [
            Listener("control plane", own.http_host, own.http_port, f"{section}.http-port"),
            Listener("upstream broker", LOOPBACK, own.broker_port, f"{section}.broker-port"),
        ]
    for name in names:
        key = f"{name.replace('_', '-')}-settings.metrics-port"
        port = getattr(settings, f"{name}_settings").metrics_port
        wanted.append(Listener(f"metrics of {name}", HOST, port, key))
    return [listener for listener in wanted if listener.port]


def address_obstacles(wanted: list[Listener]) -> Iterator[Obstacle]:
    """Addresses that two of ours want, that others have, or that are not of this machine."""
    for index, listener in enumerate(wanted):
        other = next((item for item in wanted[:index] if _is_same(item, listener)), None)
        if other is not None:
            yield Obstacle(
                f"{listener} is wanted twice, for {other.what} and for {listener.what}",
                f"change {listener.key}",
            )
            continue
        error = _trouble(listener)
        if error is None:
            continue
        said = f"{listener} ({listener.what})"
        match error.errno:
            case errno.EADDRINUSE:
                yield Obstacle(
                    f"{said} is in use",
                    f"see by whom with `ss -ltnp sport = :{listener.port}`, "
                    f"or change {listener.key}",
                    is_passing=True,
                )
            case errno.EACCES:
                remedy = f"use a port from 1024 on: change {listener.key}"
                yield Obstacle(f"{said} may not be used by this user", remedy)
            case _:
                remedy = "name an address of this machine, such as 127.0.0.1 or 0.0.0.0"
                yield Obstacle(f"{said} cannot be used ({error.strerror or error})", remedy)


def bus_obstacles(
    settings: Settings, state_dir: Path, environ: Mapping[str, str]
) -> Iterator[Obstacle]:
    """A state folder whose path leaves no room for the bus socket."""
    if is_told_where(settings.bus, environ) or find_mosquitto(environ) is None:
        return
    try:
        socket_in(state_dir)
    except ConfigError as error:
        yield Obstacle(error.sentence, error.hint)


def certificate_obstacles(endpoint: Endpoint, where: str) -> Iterator[Obstacle]:
    """Files that are there, as the configuration's own check found, but are of no use."""
    tls = endpoint.mqtt_settings
    if not tls.ssl:
        return
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        yield Obstacle(
            f"{where}.mqtt-settings.ca-file is {tls.ca_file!r}, of no use ({_plainly(error)})",
            "give a PEM file with the certificates of the authority",
        )
    try:
        context.load_cert_chain(tls.client_cert, tls.client_key, password="")
    except (OSError, ssl.SSLError) as error:
        yield Obstacle(
            f"{where}.mqtt-settings.client-cert and client-key are {tls.client_cert!r} and "
            f"{tls.client_key!r}, of no use ({_plainly(error)})",
            "give a PEM certificate and the unencrypted PEM key that belongs to it",
        )


def obstacles(
    settings: Settings, state_dir: Path, environ: Mapping[str, str], *, is_demo: bool
) -> list[Obstacle]:
    """All of them, those of the configuration first."""
    found = list(bus_obstacles(settings, state_dir, environ))
    for index, endpoint in enumerate(settings.external_connection.endpoints):
        where = f"external-connection.endpoints[{index}]"
        found += certificate_obstacles(endpoint, where)
    return [*found, *address_obstacles(listeners(settings, is_demo=is_demo))]


def _is_same(one: Listener, other: Listener) -> bool:
    hosts = {one.host, other.host}
    return one.port == other.port and (len(hosts) == 1 or bool(hosts & ANYWHERE))


def _trouble(listener: Listener) -> OSError | None:
    """What the system says when somebody wants to listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            trial.listen(1)
    except OSError as error:
        return error
    return None


def _plainly(error: OSError) -> str:
    """Of OpenSSL's words those for people."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return os.strerror(error.errno) if error.errno else str(error)
