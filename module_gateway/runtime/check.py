"""`module-gateway check`: what would go wrong, and what to do about it, before it does."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from module_gateway.bus.location import find_bus, socket_in
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.broker import find_mosquitto, is_told_where
from module_gateway.runtime.config import default_settings, effective_configuration, inspect
from module_gateway.runtime.options import add_common_options
from module_gateway.runtime.preflight import certificate_obstacles
from module_gateway.runtime.process import EXIT_CONFIG, EXIT_FAILED, EXIT_OK
from module_gateway.runtime.restarts import read_restarts
from module_gateway.runtime.settings import Endpoint, Settings
from module_gateway.runtime.state import ensure_state_dir, find_state_dir

FREE_DISK_BYTES: Final = 256 * 1024 * 1024
"""Room for a store of 20,000 identities to grow during an outage before anybody looks."""
CONNECT_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    subject: str
    is_ok: bool
    text: str
    remedy: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line per finding, or JSON; 0 when all is well, 78 for configuration, else 1."""
    parser = argparse.ArgumentParser(
        prog="module-gateway check", description=__doc__, allow_abbrev=False
    )
    add_common_options(parser)
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    args = parser.parse_args(argv)
    settings, findings = check_configuration(args.config)
    if settings is not None:
        if args.state_dir is not None:
            settings = settings.model_copy(update={"state_dir": args.state_dir})
        findings += check_surroundings(settings, os.environ)
    if args.json:
        report = {
            "ok": all(item.is_ok for item in findings),
            "findings": [asdict(item) for item in findings],
            "settings": None if settings is None else effective_configuration(settings),
        }
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line(item)}\n" for item in findings))
    if settings is None:
        return EXIT_CONFIG
    return EXIT_OK if all(item.is_ok for item in findings) else EXIT_FAILED


def line(item: Finding) -> str:
    """A finding as a person reads it."""
    mark = "ok  " if item.is_ok else "FAIL"
    return f"{mark} {item.subject}: {item.text}" + (f" → {item.remedy}" if item.remedy else "")


def check_configuration(path: Path | None) -> tuple[Settings | None, list[Finding]]:
    """Everything that the file says wrongly or loosely."""
    if path is None:
        return default_settings(), [Finding("configuration", True, "no file given: defaults")]
    found = inspect(path)
    findings = [
        Finding("configuration", False, item.sentence, item.hint) for item in found.problems
    ]
    findings += [Finding("configuration", True, f"note: {item}") for item in found.notices]
    if found.settings is not None:
        findings.append(Finding("configuration", True, f"{path} can be used"))
    return found.settings, findings


def check_surroundings(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """State folder, disk, bus and certificates."""
    state_dir = find_state_dir(settings.state_dir, environ)
    findings = [*_check_state(state_dir), *_tell_restarts(state_dir)]
    findings += _check_bus(settings, state_dir, environ)
    for index, endpoint in enumerate(settings.external_connection.endpoints):
        findings += _check_certificates(endpoint, f"endpoints[{index}]")
    return findings


def _tell_restarts(state_dir: Path) -> Iterator[Finding]:
    """Of the gateway that runs there: a notice, as it has mended itself."""
    for name, (reasons, last) in read_restarts(state_dir).items():
        counted = ", ".join(f"{reason} ({times} times)" for reason, times in reasons.items())
        text = f"{name} had to be started again: {counted}, last at {last}"
        yield Finding("restarts", True, text, "the gateway's log says more")


def _check_state(state_dir: Path) -> Iterator[Finding]:
    try:
        ensure_state_dir(state_dir)
    except ConfigError as error:
        yield Finding("state folder", False, error.sentence, error.hint)
        return
    yield Finding("state folder", True, f"{state_dir} can be written")
    is_private = state_dir.stat().st_mode & 0o077 == 0
    if not is_private:
        yield Finding(
            "state folder",
            False,
            f"{state_dir} can be entered by other users",
            f"chmod 700 {state_dir}",
        )
    free = shutil.disk_usage(state_dir).free
    yield Finding(
        "disk",
        free >= FREE_DISK_BYTES,
        f"{free // 2**20} MiB free on the state folder's disk",
        "" if free >= FREE_DISK_BYTES else f"make room: at least {FREE_DISK_BYTES // 2**20} MiB",
    )


def _check_bus(
    settings: Settings, state_dir: Path, environ: Mapping[str, str]
) -> Iterator[Finding]:
    try:
        if is_told_where(settings.bus, environ):
            location = find_bus(settings.bus, state_dir, environ)
            target = location.socket or (location.host, location.port)
            yield _check_connect(target, str(location))
            return
        socket_in(state_dir)
    except ConfigError as error:
        yield Finding("bus", False, error.sentence, error.hint)
        return
    program = find_mosquitto(environ)
    if program is None:
        yield Finding(
            "bus",
            True,
            "mosquitto is not installed: the slower embedded broker will be used",
            "apt install mosquitto",
        )
    else:
        yield Finding("bus", True, f"{program} will be started on {socket_in(state_dir)}")


def _check_connect(target: Path | tuple[str, int], name: str) -> Finding:
    try:
        if isinstance(target, Path):
            with socket.socket(socket.AF_UNIX) as trial:
                trial.settimeout(CONNECT_TIMEOUT_S)
                trial.connect(str(target))
        else:
            socket.create_connection(target, CONNECT_TIMEOUT_S).close()
    except OSError as error:
        remedy = "start that broker, or take it out of configuration and environment"
        return Finding("bus", False, f"{name}: {error.strerror or error}", remedy)
    return Finding("bus", True, f"{name} answers")


def _check_certificates(endpoint: Endpoint, where: str) -> Iterator[Finding]:
    if not endpoint.mqtt_settings.ssl:
        return
    found = list(certificate_obstacles(endpoint, where))
    for obstacle in found:
        yield Finding("certificates", False, obstacle.text, obstacle.remedy)
    if not found:
        yield Finding("certificates", True, f"{where}: all three files can be used")
