"""Where the local bus is (decisions: Running)."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.settings import BusSettings

SOCKET_NAME: Final = "bus.sock"
DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 1883
HOST_VARIABLE: Final = "IPC_MQTT_HOST"
PORT_VARIABLE: Final = "IPC_MQTT_PORT"
SOCKET_VARIABLE: Final = "IPC_MQTT_SOCKET"
"""For a supervisor that tells its components which socket its broker has or will have."""

SOCKET_PATH_MAX_BYTES: Final = 107
"""Linux keeps 108 bytes for the path of a Unix socket, the last one is 0 (unix(7))."""

_PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True)
class BusLocation:
    """A Unix socket, or a TCP host and port when `socket` is None."""

    socket: Path | None
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        if self.socket is not None:
            return str(self.socket)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def socket_in(state_dir: Path) -> Path:
    """Where the bus socket of this state directory is, whether or not a broker made it yet.

    Raises:
        ConfigError: the path is longer than a Unix socket's may be.
    """
    return _checked(state_dir / SOCKET_NAME, "state-dir")


def find_bus(settings: BusSettings, state_dir: Path, environ: Mapping[str, str]) -> BusLocation:
    """Environment, then configuration, then the state directory's socket, then 127.0.0.1:1883.

    In the environment host and port come before the socket. The state directory's socket counts
    when it exists now; one that is named need not exist yet.

    Raises:
        ConfigError: a variable or a path that cannot be right.
    """
    host, port = environ.get(HOST_VARIABLE, ""), environ.get(PORT_VARIABLE, "")
    if host or port:
        return BusLocation(
            None,
            host or settings.host or DEFAULT_HOST,
            _port_of(port) if port else settings.port,
        )
    if environ.get(SOCKET_VARIABLE):
        return BusLocation(_checked(Path(environ[SOCKET_VARIABLE]), SOCKET_VARIABLE))
    if settings.socket is not None:
        return BusLocation(_checked(settings.socket, "bus.socket"))
    if settings.host is not None:
        return BusLocation(None, settings.host, settings.port)
    default_socket = state_dir / SOCKET_NAME
    if _is_socket(default_socket):
        return BusLocation(_checked(default_socket, "state-dir"))
    return BusLocation(None, DEFAULT_HOST, settings.port)


def _port_of(text: str) -> int:
    if (
        text.isascii()
        and text.isdecimal()
        and len(text) <= len(str(_PORT_MAX))
        and (0 < int(text) <= _PORT_MAX)
    ):
        return int(text)
    raise ConfigError(PORT_VARIABLE, got=text, expected=f"a whole number from 1 to {_PORT_MAX}")


def _checked(path: Path, where: str) -> Path:
    size_bytes = len(os.fsencode(path))
    if size_bytes > SOCKET_PATH_MAX_BYTES:
        raise ConfigError(
            where,
            got=str(path),
            expected=f"a socket path of at most {SOCKET_PATH_MAX_BYTES} bytes, not {size_bytes}",
            hint="choose a shorter --state-dir",
        )
    return path


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except (OSError, ValueError):
        return False
