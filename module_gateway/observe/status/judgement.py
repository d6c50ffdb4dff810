"""What is wrong with a gateway, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from module_gateway.module_handler.buffer.figures import words_of

RECENT_MS: Final = 10 * 60 * 1000
MANY_RESTARTS: Final = 3
"""So many within RECENT_MS is no accident any more; fewer are shown, not judged."""

FULL: Final = 0.8
"""Of a bound of the buffer: the rest is what an operator has for doing something."""
HOURS_LEFT: Final = 4.0
"""Likewise."""
SETTLED_S: Final = 30.0
"""Younger entries are the usual coming and going (`buffer.figures.SETTLED_S`)."""

REMEDIES: Final = {
    "started": "wait a moment; if it stays so, the log says what it waits for",
    "progress": "the machine is too slow or too busy for its devices, or the process hangs: the "
    "supervisor starts it again then; look at the machine's load and disk",
    "bus": "look at the bus' broker: module-gateway check",
    "handler": "look at the module handler: without it no device is answered",
    "store": "look at the disk and its free space: module-gateway check, module-gateway buffer "
    "check",
    "broker": "start the broker of the gateways, or mend control-plane-settings.broker-…",
    "endpoint": "mend the certificates of this endpoint: module-gateway check",
}
"""By check of /readyz; `endpoint_0` is found under `endpoint`."""

Problem = dict[str, str]


def problems(report: Mapping[str, Any], now_unix_ms: int) -> list[Problem]:
    """Everything that somebody should do something about, the most important first."""
    processes = report["processes"]
    if all(each["state"] == "ended" for each in processes):
        return [
            _problem(
                "gateway",
                f"none runs with the state folder {report['state_dir']}",
                "start it, or name the one you mean with --config or --state-dir",
            )
        ]
    found = [each for process in processes for each in _of_process(process, now_unix_ms)]
    found += _of_bus(report["bus"])
    found += _of_work(report)
    found += _of_buffer(report["buffer"])
    for each in report["control_planes"]:
        found += _of_control_plane(each, report["devices"], report["buffer"])
    return found


def _problem(subject: str, text: str, remedy: str) -> Problem:
    return {"subject": subject, "text": text, "remedy": remedy}


def _of_process(process: Mapping[str, Any], now_unix_ms: int) -> Iterator[Problem]:
    name = process["name"]
    match process["state"]:
        case "ended":
            remedy = "its last log line says why; what supervises it should start it again"
            yield _problem(name, "does not run", remedy)
        case "starting":
            yield _problem(
                name, "is not ready yet", "wait a moment; its log says what it waits for"
            )
        case "silent":
            remedy = "it hangs or starves: a supervisor kills it after hung-limit-ms; if nothing "
            yield _problem(name, process["failure"], f"{remedy}supervises it, start it again")
        case _:
            for check, detail in process["not_ready"].items():
                remedy = REMEDIES.get(check) or REMEDIES.get(check.partition("_")[0], "see its log")
                yield _problem(name, f"is not ready: {check}: {detail or 'false'}", remedy)
    recent = [
        each
        for each in process["newest_restarts"]
        if now_unix_ms - int(each["unix_ms"]) <= RECENT_MS
    ]
    if len(recent) >= MANY_RESTARTS:
        reasons = ", ".join(dict.fromkeys(str(each["reason"]) for each in recent))
        remedy = "the log says what happened before each; module-gateway bundle collects it"
        yield _problem(name, f"had to be started again and again: {reasons}", remedy)


def _of_bus(bus: Mapping[str, Any]) -> Iterator[Problem]:
    if not bus["answers"]:
        where = bus["location"] or bus["why"]
        yield _problem("bus", f"no broker answers at {where}", REMEDIES["bus"])


def _of_work(report: Mapping[str, Any]) -> Iterator[Problem]:
    if report["unexpected_errors"]:
        yield _problem(
            "defects",
            f"{report['unexpected_errors']} unexpected errors since the start",
            "the log has the tracebacks: report them with a module-gateway bundle",
        )
    if report["rates"].get("reply_timeouts_per_s"):
        yield _problem(
            "devices",
            "some are closed because the module handler does not answer in time",
            "the machine or its disk is too slow for this load: see docs/operate.md, reply_timeout",
        )


def _of_buffer(buffer: Mapping[str, Any]) -> Iterator[Problem]:
    if buffer.get("why"):
        yield _problem("buffer", str(buffer["why"]), "module-gateway buffer check")
        return
    bounds = buffer.get("bounds", {})
    full = max(bounds.get("total_full", 0.0), bounds.get("device_full", 0.0))
    hours = buffer.get("growth", {}).get("hours_left")
    remedy = "bring the control plane back; when it is full the oldest entries are folded"
    if full >= FULL:
        yield _problem("buffer", f"{full:.0%} full", remedy)
    elif hours is not None and hours < HOURS_LEFT:
        yield _problem("buffer", f"full in {words_of(hours * 3600)} at this rate", remedy)


def _of_control_plane(
    each: Mapping[str, Any], devices: Mapping[str, Any], buffer: Mapping[str, Any]
) -> Iterator[Problem]:
    """A session rests while nobody has anything to say: only then is none needed."""
    subject = f"control plane {each['endpoint']}"
    waiting_s = buffer.get("oldest_age_s") or 0.0
    is_wanted = bool(devices.get("registered")) or waiting_s > SETTLED_S
    if each["session_is_up"] is None or each["session_is_up"] or not is_wanted:
        return
    safe = "statuses wait in the buffer meanwhile"
    if not each["broker_is_up"]:
        remedy = "look at the network, the address and the certificates of this endpoint"
        yield _problem(subject, f"its broker {each['broker']} is not reached", f"{remedy}; {safe}")
    else:
        remedy = "is the control plane running at this broker, and does it know this vehicle?"
        yield _problem(
            subject, "the broker is reached, but there is no session", f"{remedy} {safe}"
        )
