"""Everything that `status` says, as JSON has it."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from module_gateway.module_handler.buffer.place import Place, place_of
from module_gateway.module_handler.buffer.stat_report import report as buffer_report
from module_gateway.observe.bus_place import running_bus
from module_gateway.observe.status.figures import Figures, quantile, rate
from module_gateway.observe.status.judgement import problems
from module_gateway.observe.status.processes import gateway_note, look
from module_gateway.protocol.errors import ConfigError, StoreError
from module_gateway.runtime.broker import answers as broker_answers
from module_gateway.runtime.settings import Settings

SPAN_S: Final = 1.0
"""Between the two looks that make a rate, when it is asked once."""

_SERVER: Final = "module_gateway_internal_server"
_HANDLER: Final = "module_gateway_module_handler"
_CLIENT: Final = "module_gateway_external_client"

RATES: Final = {
    "statuses_in_per_s": ("internal_server", f"{_SERVER}_statuses_total"),
    "statuses_applied_per_s": ("module_handler", f"{_HANDLER}_statuses_applied_total"),
    "statuses_published_per_s": ("module_handler", f"{_HANDLER}_published_total"),
    "statuses_upstream_per_s": ("external_client", f"{_CLIENT}_statuses_total"),
    "commands_answered_per_s": ("external_client", f"{_CLIENT}_command_responses_total"),
    "devices_closed_per_s": ("internal_server", f"{_SERVER}_closed_total"),
    "reply_timeouts_per_s": ("internal_server", f"{_SERVER}_closed_total"),
}
"""Name → process and counter; `reply_timeouts_per_s` counts that reason alone."""


class Reporter:
    """Looks at one gateway, as often as it is asked; rates are those between two looks."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._place = place_of(settings)
        self._clock = clock
        self._before: tuple[float, dict[str, Figures]] | None = None

    def report(self) -> dict[str, Any]:
        """One look. The first one has no rates.

        Raises:
            ConfigError: this user may not look into the state folder.
        """
        _check_access(self._place.state_dir)
        processes, answers = look(self._place.state_dir)
        now = self._clock()
        figures = {name: answer.figures for name, answer in answers.items()}
        before_at, before = self._before if self._before is not None else (now, {})
        self._before = (now, figures)
        note = gateway_note(self._place.state_dir)
        found: dict[str, Any] = {
            "state_dir": str(self._place.state_dir),
            "configuration": self._settings.source or None,
            "gateway_pid": note.get("pid"),
            "processes": processes,
            "bus": self._bus(figures),
            "devices": _devices(figures),
            "rates": _rates(before, figures, now - before_at),
            "unexpected_errors": _errors(figures),
            "buffer": _buffer(self._place, figures),
            "control_planes": self._control_planes(figures),
        }
        found["problems"] = problems(found, int(time.time() * 1000))
        found["ok"] = not found["problems"]
        return found

    def _bus(self, figures: Mapping[str, Figures]) -> dict[str, Any]:
        try:
            location = running_bus(self._settings.bus, self._place.state_dir, os.environ)
        except ConfigError as error:
            return {"location": None, "answers": False, "why": str(error), "connected": {}}
        connected = {
            name: bool(up)
            for name, each in figures.items()
            if (up := each.sum("module_gateway_bus_is_up")) is not None
            and name != "control_plane"  # it is on no bus
        }
        return {
            "location": str(location),
            "answers": asyncio.run(broker_answers(location)),
            "why": "",
            "connected": connected,
        }

    def _control_planes(self, figures: Mapping[str, Figures]) -> list[dict[str, Any]]:
        client = figures.get("external_client")
        connection = self._settings.external_connection
        return [
            {
                "endpoint": index,
                "broker": f"{each.server_ip}:{each.port}",
                "tls": each.mqtt_settings.ssl,
                "modules": list(each.modules),
                **_session(client, str(index)),
            }
            for index, each in enumerate(connection.endpoints)
        ]


def _check_access(state_dir: Path) -> None:
    """A folder that cannot be looked into would seem to be that of a gateway that does not run."""
    try:
        is_readable = not state_dir.exists() or os.access(state_dir, os.R_OK | os.X_OK)
    except PermissionError:
        is_readable = False
    if not is_readable:
        raise ConfigError(
            "state-dir",
            got=str(state_dir),
            expected="a folder that this user may read",
            hint="ask as the gateway's own user, or as root",
        )


def _session(client: Figures | None, endpoint: str) -> dict[str, Any]:
    """None everywhere while the external client is silent; what it does not say is 0."""

    def said(name: str) -> int | None:
        return (
            None if client is None else int(client.sum(f"{_CLIENT}_{name}", endpoint=endpoint) or 0)
        )

    return {
        "broker_is_up": None if said("broker_is_up") is None else bool(said("broker_is_up")),
        "session_is_up": None if said("session_is_up") is None else bool(said("session_is_up")),
        "statuses_in_flight": said("statuses_in_flight"),
        "folded_devices": said("folded_devices"),
        "quarantined_devices": said("quarantined_devices"),
    }


def _devices(figures: Mapping[str, Figures]) -> dict[str, int | None]:
    server, handler = figures.get("internal_server"), figures.get("module_handler")
    open_now = None if server is None else server.sum(f"{_SERVER}_connections")
    registered = None if handler is None else handler.sum(f"{_HANDLER}_size", of="registered")
    return {
        "connections": None if open_now is None else int(open_now),
        "registered": None if registered is None else int(registered),
    }


def _rates(
    before: Mapping[str, Figures], after: Mapping[str, Figures], span_s: float
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, (process, counter) in RATES.items():
        then, now = before.get(process), after.get(process)
        if then is None or now is None:
            found[name] = None
        elif name == "reply_timeouts_per_s":
            found[name] = rate(_reply_timeouts(then), _reply_timeouts(now), counter, span_s)
        else:
            found[name] = rate(then, now, counter, span_s)
    now = after.get("internal_server", Figures())
    then = before.get("internal_server", Figures())
    for part in (0.5, 0.99):
        wait = quantile(then, now, f"{_SERVER}_reply_wait_seconds", part)
        within = None if wait is None or math.isinf(wait) else wait * 1000
        found[f"reply_wait_p{part * 100:.0f}_ms"] = within
    return found


def _reply_timeouts(figures: Figures) -> Figures:
    name = f"{_SERVER}_closed_total"
    return Figures({name: {(): figures.sum(name, reason="reply_timeout") or 0.0}})


def _errors(figures: Mapping[str, Figures]) -> int:
    name = "module_gateway_unexpected_errors_total"
    return sum(int(each.sum(name) or 0) for each in figures.values())


def _buffer(place: Place, figures: Mapping[str, Figures]) -> dict[str, Any]:
    """What `buffer stat` says; of a handler without a store, what it counts itself."""
    if place.settings.module_handler_settings.durability == "memory":
        handler = figures.get("module_handler", Figures())
        entries = handler.sum(f"{_HANDLER}_size", of="outbox_entries")
        size = handler.sum(f"{_HANDLER}_size", of="outbox_bytes")
        return {
            "durability": "memory",
            "entries": None if entries is None else int(entries),
            "bytes": None if size is None else int(size),
        }
    try:
        return buffer_report(place, int(time.time() * 1000), has_devices=False)
    except (StoreError, ConfigError) as error:
        return {"durability": place.settings.module_handler_settings.durability, "why": str(error)}
