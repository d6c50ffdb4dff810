"""From the text of a sink (`fleet-protocol://gateway:8888`) to a maker of sinks.

    fleet-protocol://HOST[:PORT]        a gateway
    mqtt://HOST[:PORT]/TOPIC            statuses; commands come on TOPIC/command
    http://HOST[:PORT]/PATH, https://   one POST per status; the answer's body is a command
    ws://HOST[:PORT]/PATH, wss://       one message per status; messages that come are commands
    fix://HOST:PORT                     FIX 4.4 News in both directions
    console:                            standard output
    file:PATH                           JSON lines
    package.module:Class                a sink of one's own (a subclass of `Sink`)

`{id}`, `{role}`, `{module}` and `{device_type}` in topic and path stand for the device's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

from fleet_lab.devices.api import Device
from fleet_lab.errors import EXIT_CONFIG, LabError, nearest
from fleet_lab.import_path import import_object
from fleet_lab.sinks.api import Sink, SinkUrl
from fleet_lab.sinks.paths import expand

SinkFactory: TypeAlias = Callable[[], Sink]
"""Makes the sink of one more device."""


@dataclass(frozen=True, slots=True)
class _Scheme:
    """Where a sink's class is, and what its URL must say."""

    path: str
    default_port: int | None = None
    needs_host: bool = True
    needs_path: bool = False
    example: str = ""


SCHEMES: Final[Mapping[str, _Scheme]] = MappingProxyType(
    {
        "fleet-protocol": _Scheme(
            "fleet_lab.sinks.fleet_protocol:FleetProtocolSink", 8888,
            example="fleet-protocol://127.0.0.1:8888",
        ),
        "mqtt": _Scheme(
            "fleet_lab.sinks.mqtt:MqttSink", 1883, needs_path=True,
            example="mqtt://127.0.0.1:1883/fleet/{id}",
        ),
        "http": _Scheme("fleet_lab.sinks.http:HttpSink", 80, example="http://127.0.0.1:8000/{id}"),
        "https": _Scheme("fleet_lab.sinks.http:HttpSink", 443, example="https://host/{id}"),
        "ws": _Scheme("fleet_lab.sinks.websocket:WebSocketSink", 80, example="ws://127.0.0.1/{id}"),
        "wss": _Scheme("fleet_lab.sinks.websocket:WebSocketSink", 443, example="wss://host/{id}"),
        "fix": _Scheme("fleet_lab.sinks.fix:FixSink", 9878, example="fix://127.0.0.1:9878"),
        "console": _Scheme(
            "fleet_lab.sinks.console:ConsoleSink", needs_host=False, example="console:"
        ),
        "file": _Scheme(
            "fleet_lab.sinks.file:FileSink", needs_host=False, needs_path=True,
            example="file:statuses.jsonl",
        ),
    }
)  # fmt: skip
"""Default ports: the gateway's of decisions.md, IANA's, and QuickFIX's examples for FIX."""

_ALIASES: Final = {"websocket": "ws"}


def sink_factory(text: str) -> SinkFactory:
    """What makes a sink per device; the libraries that it needs are imported here.

    Raises:
        LabError: the text names no sink, an address is missing, a library is not installed.
    """
    scheme, _, rest = text.partition(":")
    scheme = _ALIASES.get(scheme, scheme)
    known = SCHEMES.get(scheme)
    if known is None:
        if _is_own(scheme, rest):
            return _own_sink(text)
        close = nearest(scheme, SCHEMES)
        raise LabError(
            f"sink {text!r}: {scheme!r} is none of {', '.join(SCHEMES)}, nor a module:Class{close}",
            EXIT_CONFIG,
        )
    url = _parsed(text, f"{scheme}:{rest}", known)
    make = _class_at(known.path, text)
    return lambda: make(url)


def _parsed(text: str, normal: str, known: _Scheme) -> SinkUrl:
    def wrong(what: str) -> LabError:
        return LabError(f"sink {text!r}: {what}; write for example {known.example}", EXIT_CONFIG)

    try:
        parts = urlsplit(normal)
        port = parts.port or known.default_port or 0
    except ValueError as error:
        raise wrong(str(error)) from None
    if known.needs_host and not parts.hostname:
        raise wrong("the host is missing")
    path = parts.path if known.needs_host else normal.partition(":")[2]
    if known.needs_path and not path.strip("/"):
        raise wrong("what comes after the host is missing" if known.needs_host else "no path")
    try:
        expand(path, Device("example"))
    except (KeyError, IndexError, ValueError) as error:
        raise wrong(f"{path!r} has a placeholder that is none of the device's ({error})") from None
    return SinkUrl(normal, parts.scheme, parts.hostname or "", port, unquote(path))


def _own_sink(text: str) -> SinkFactory:
    make = _class_at(text.partition("?")[0], text)
    url = SinkUrl(text, "", "", 0, text.partition("?")[2])
    return lambda: make(url)


def _class_at(path: str, text: str) -> type[Sink]:
    try:
        found = import_object(path)
    except LabError as error:
        raise LabError(f"sink {text!r}: {error}", EXIT_CONFIG) from error
    if not (inspect.isclass(found) and issubclass(found, Sink)):
        raise LabError(f"sink {text!r}: {path} is no subclass of fleet_lab.Sink", EXIT_CONFIG)
    return found


def _is_own(scheme: str, rest: str) -> bool:
    """Whether it is a class by its import path and no URL with a misspelt scheme."""
    name = rest.partition("?")[0]
    return bool(scheme) and all(part.isidentifier() for part in name.split("."))
