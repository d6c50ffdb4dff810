"""The report on one screen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from module_gateway.module_handler.buffer.figures import size_words, words_of
from module_gateway.runtime.log import clean_text

_NAME_WIDTH: Final = 16
_STATE_WIDTH: Final = 10
_REASON_CHARS: Final = 120


def screen(report: Mapping[str, Any]) -> str:
    """Everything, the verdict last: that is where the eye is after a command."""
    lines = [*_head(report), "", *_processes(report), ""]
    lines += [f"{name:<{_NAME_WIDTH}}{said}" for name, said in _facts(report)]
    lines += ["", *_verdict(report)]
    return "".join(f"{line}\n" for line in lines)


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    pid = report["gateway_pid"]
    who = "no supervisor" if pid is None else f"supervisor {pid}"
    yield f"state folder {report['state_dir']}, {who}"


def _processes(report: Mapping[str, Any]) -> Iterator[str]:
    head = f"{'process':<{_NAME_WIDTH}}{'state':<{_STATE_WIDTH}}"
    yield f"{head}{'pid':>8}  {'up for':>12}  {'memory':>10}  restarts"
    for each in report["processes"]:
        pid = "-" if each["pid"] is None else str(each["pid"])
        up = "-" if each["uptime_s"] is None else words_of(each["uptime_s"])
        memory = "-" if each["memory_bytes"] is None else size_words(each["memory_bytes"])
        line = f"{each['name']:<{_NAME_WIDTH}}{each['state']:<{_STATE_WIDTH}}"
        yield f"{line}{pid:>8}  {up:>12}  {memory:>10}  {_restarts(each)}".rstrip()
        for check, detail in each["not_ready"].items():
            yield f"{'':<{_NAME_WIDTH}}{check}: {clean_text(detail, _REASON_CHARS)}"


def _restarts(process: Mapping[str, Any]) -> str:
    reasons = process["restart_reasons"]
    if not reasons:
        return "0"
    said = ", ".join(f"{reason} ({times})" for reason, times in reasons.items())
    last = ""
    if process["newest_restarts"]:
        moment = datetime.fromtimestamp(int(process["newest_restarts"][-1]["unix_ms"]) / 1000, UTC)
        last = f", last {moment:%Y-%m-%d %H:%M:%S} UTC"
    return f"{process['restarts']}: {clean_text(said, _REASON_CHARS)}{last}"


def _facts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    bus = report["bus"]
    missing = [name for name, is_up in bus["connected"].items() if not is_up]
    state = "answers" if bus["answers"] else "does not answer"
    lost = f", not connected: {', '.join(missing)}" if missing else ""
    yield "bus", f"{bus['location'] or bus['why']} {state}{lost}"
    devices, rates = report["devices"], report["rates"]
    yield (
        "devices",
        f"{_n(devices['connections'])} connected, {_n(devices['registered'])} registered",
    )
    yield (
        "statuses",
        (
            f"{_r(rates['statuses_in_per_s'])} in, {_r(rates['statuses_applied_per_s'])} applied, "
            f"{_r(rates['statuses_published_per_s'])} to the outbox, "
            f"{_r(rates['statuses_upstream_per_s'])} upstream"
        ),
    )
    waits = [
        f"{part} within {wait:,.0f} ms"
        for part, wait in (
            ("half", rates["reply_wait_p50_ms"]),
            ("99 %", rates["reply_wait_p99_ms"]),
        )
        if wait is not None
    ]
    yield "replies", ", ".join(waits) or "none yet"
    yield "buffer", _buffer(report["buffer"])
    for each in report["control_planes"]:
        yield f"control plane {each['endpoint']}", _control_plane(each)


def _buffer(buffer: Mapping[str, Any]) -> str:
    if buffer.get("why"):
        return clean_text(buffer["why"], _REASON_CHARS)
    if buffer["durability"] == "memory":
        size = "?" if buffer["bytes"] is None else size_words(buffer["bytes"])
        return f"{_n(buffer['entries'])} entries, {size}, in memory only"
    said = f"{buffer['entries']:,} entries, {size_words(buffer['bytes'])}"
    if buffer["oldest_age_s"] is not None:
        said += f", the oldest for {words_of(buffer['oldest_age_s'])}"
    hours = buffer["growth"]["hours_left"]
    left = "not growing" if hours is None else f"{words_of(hours * 3600)} left at this rate"
    aside = f"; {len(buffer['set_aside'])} damaged set aside" if buffer["set_aside"] else ""
    return f"{said}; {left}, {buffer['bounds']['total_full']:.1%} full{aside}"


def _control_plane(each: Mapping[str, Any]) -> str:
    where = f"{each['broker']}{' TLS' if each['tls'] else ''}"
    if each["session_is_up"] is None:
        return f"{where}: nobody says"
    if each["session_is_up"]:
        state = "session"
    else:
        state = "connected, no session" if each["broker_is_up"] else "not connected"
    more = [
        f"{each[key]} {words}"
        for key, words in (
            ("statuses_in_flight", "in flight"),
            ("folded_devices", "devices folded"),
            ("quarantined_devices", "devices in quarantine"),
        )
        if each[key]
    ]
    return f"{where}: {', '.join([state, *more])}"


def _verdict(report: Mapping[str, Any]) -> Iterator[str]:
    if report["ok"]:
        yield "all is well"
        return
    for each in report["problems"]:
        text = clean_text(each["text"], 3 * _REASON_CHARS)
        yield f"WRONG {each['subject']}: {text} → {each['remedy']}"


def _n(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _r(rate: float | None) -> str:
    return "?" if rate is None else f"{rate:,.1f}/s"
