"""What must hold between settings that are each valid on their own (fleet-protocol 5.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from module_gateway.modules.catalog import load_modules
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.config_errors import nearest
from module_gateway.runtime.settings import Endpoint, Settings

PARTITIONS = 64  # decisions: Bus


def broken_rules(
    settings: Settings, *, is_ours: bool, needs_endpoints: bool = True
) -> Iterator[ConfigError]:
    """Everything that is wrong; what the existing gateway tolerates is wrong in our form only."""
    yield from _logging(settings)
    yield from _modules(settings)
    if is_ours:
        yield from _endpoints(settings, needs_one=needs_endpoints)
    for index, endpoint in enumerate(settings.external_connection.endpoints):
        where = f"external-connection.endpoints[{index}]"
        yield from _endpoint_modules(settings, endpoint, where)
        yield from tls_problems(endpoint, where)
    yield from _windows(settings)


def _logging(settings: Settings) -> Iterator[ConfigError]:
    sink = settings.logging.file
    if sink.use and not (sink.path and Path(sink.path).is_dir()):
        yield ConfigError(
            "logging.file.path",
            got=sink.path,
            expected="a folder that exists, because logging.file.use is true",
            hint=f"mkdir -p {sink.path}" if sink.path else "",
        )


def _modules(settings: Settings) -> Iterator[ConfigError]:
    known = settings.module_paths
    for number, name in known.items():
        own = settings.module_settings.get(number)
        try:
            load_modules({number: name}, {} if own is None else {number: own})
        except ConfigError as error:
            yield error
    for number in settings.module_settings:
        if number not in known:
            yield ConfigError(
                f"module-settings.{number}",
                got=number,
                expected=f"a number of module-paths ({', '.join(known)})",
                hint=nearest(number, known),
            )
    for wanted in settings.module_handler_settings.modules or ():
        if str(wanted) not in known:
            yield ConfigError(
                "module-handler-settings.modules",
                got=wanted,
                expected=f"numbers of module-paths ({', '.join(known)})",
            )
    yield from _partitions(settings.module_handler_settings.partitions)
    yield from _processes(settings)


def _partitions(text: str) -> Iterator[ConfigError]:
    is_form = re.fullmatch(r"\d{1,2}(-\d{1,2})?(,\d{1,2}(-\d{1,2})?)*", text, re.ASCII)
    ranges = [tuple(map(int, part.split("-"))) for part in text.split(",")] if is_form else []
    if not ranges or any(span[-1] >= PARTITIONS or span[0] > span[-1] for span in ranges):
        yield ConfigError(
            "module-handler-settings.partitions",
            got=text,
            expected=f"numbers or ranges from 0 to {PARTITIONS - 1}, such as '0-31' or '0,5-7'",
        )


def _processes(settings: Settings) -> Iterator[ConfigError]:
    handlers = settings.module_handler_settings
    all_partitions = type(handlers).model_fields["partitions"].default
    if handlers.processes > 1 and handlers.partitions != all_partitions:
        yield ConfigError(
            "module-handler-settings.partitions",
            got=handlers.partitions,
            expected="nothing, because module-handler-settings.processes divides them",
        )


def _endpoints(settings: Settings, *, needs_one: bool) -> Iterator[ConfigError]:
    endpoints = settings.external_connection.endpoints
    if not endpoints and needs_one:
        modules = ", ".join(settings.module_paths)
        yield ConfigError(
            "external-connection.endpoints",
            got=[],
            expected="at least one endpoint",
            hint="without one every device is answered MODULE_NOT_SUPPORTED; the demo's is "
            f'{{"server-ip": "127.0.0.1", "port": 18883, "modules": [{modules}]}}',
        )
    first: dict[int, int] = {}
    for index, endpoint in enumerate(endpoints):
        for number in endpoint.modules:
            if number in first:
                yield ConfigError(
                    f"external-connection.endpoints[{index}].modules",
                    got=number,
                    expected="each module once in one endpoint",
                    hint=f"endpoints[{first[number]}] has it already",
                )
            first.setdefault(number, index)


def _endpoint_modules(settings: Settings, endpoint: Endpoint, where: str) -> Iterator[ConfigError]:
    for number in endpoint.modules:
        if str(number) not in settings.module_paths:
            known = ", ".join(settings.module_paths)
            yield ConfigError(
                f"{where}.modules", got=number, expected=f"a number of module-paths ({known})"
            )


def tls_problems(endpoint: Endpoint, where: str) -> Iterator[ConfigError]:
    """TLS that was asked for and cannot be had; never plaintext instead."""
    tls = endpoint.mqtt_settings
    if not tls.ssl:
        return
    files = {"ca-file": tls.ca_file, "client-cert": tls.client_cert, "client-key": tls.client_key}
    for key, name in files.items():
        if not name:
            yield ConfigError(
                f"{where}.mqtt-settings.{key}",
                got=None,
                expected="a file, because mqtt-settings.ssl is true",
            )
        elif not Path(name).is_file():
            yield ConfigError(
                f"{where}.mqtt-settings.{key}",
                got=name,
                expected="a file that exists, because mqtt-settings.ssl is true",
                hint="relative paths start at the configuration file's folder",
            )


def _windows(settings: Settings) -> Iterator[ConfigError]:
    probe = settings.module_handler_settings.probe_window_ms
    reply = settings.internal_server_settings.reply_window_ms
    if probe >= reply:
        yield ConfigError(
            "module-handler-settings.probe-window-ms",
            got=probe,
            expected=f"less than internal-server-settings.reply-window-ms ({reply})",
            hint="the answer about an incumbent must come before the newcomer is closed",
        )
    bus = settings.bus
    if bus.silence_ms < 2 * bus.heartbeat_ms:
        yield ConfigError(
            "bus.silence-ms",
            got=bus.silence_ms,
            expected=f"at least twice bus.heartbeat-ms ({bus.heartbeat_ms})",
        )
