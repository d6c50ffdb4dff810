from __future__ import annotations

import copy
from typing import Any

import pytest

from module_gateway.observe.status.judgement import RECENT_MS, REMEDIES, problems

NOW = 2_000_000_000_000


def process(name: str, state: str = "ready", **more: object) -> dict[str, Any]:
    return {
        "name": name, "state": state, "pid": 7, "uptime_s": 3700.0, "memory_bytes": 2**20,
        "not_ready": {}, "failure": "", "restarts": 0, "restart_reasons": {},
        "newest_restarts": [], "addresses": {}, **more,
    }  # fmt: skip


def control_plane(**more: object) -> dict[str, Any]:
    return {
        "endpoint": 0, "broker": "b:1883", "tls": False, "modules": [1], "broker_is_up": True,
        "session_is_up": True, "statuses_in_flight": 2, "folded_devices": 0,
        "quarantined_devices": 0, **more,
    }  # fmt: skip


WELL: dict[str, Any] = {
    "state_dir": "/state", "gateway_pid": 6, "configuration": None,
    "processes": [process("module_handler"), process("internal_server")],
    "bus": {"location": "/bus.sock", "answers": True, "why": "", "connected": {"a": True}},
    "devices": {"connections": 3, "registered": 3},
    "rates": {
        "statuses_in_per_s": 1.0, "statuses_applied_per_s": 1.0, "statuses_published_per_s": 0.5,
        "statuses_upstream_per_s": None, "reply_timeouts_per_s": 0.0, "reply_wait_p50_ms": 5.0,
        "reply_wait_p99_ms": 10.0,
    },
    "unexpected_errors": 0,
    "buffer": {
        "durability": "power", "entries": 1, "bytes": 300, "oldest_age_s": 2.0, "set_aside": [],
        "growth": {"hours_left": None}, "bounds": {"total_full": 0.1, "device_full": 0.1},
    },
    "control_planes": [control_plane()], "problems": [], "ok": True,
}  # fmt: skip


def changed(**parts: object) -> dict[str, Any]:
    report = copy.deepcopy(WELL)
    for name, part in parts.items():
        if isinstance(part, dict):
            report[name].update(part)
        else:
            report[name] = part
    return report


def told(report: dict[str, Any]) -> list[tuple[str, str]]:
    found = problems(report, NOW)
    assert all(each["remedy"] for each in found)
    return [(each["subject"], each["text"]) for each in found]


def test_a_gateway_that_is_well_has_no_problems() -> None:
    assert told(WELL) == []


def test_where_nothing_runs_that_alone_is_said() -> None:
    ended = [process("a", "ended", pid=None), process("b", "ended", pid=None)]
    assert told(changed(processes=ended, bus={"answers": False})) == [
        ("gateway", "none runs with the state folder /state")
    ]


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (process("x", "ended"), "does not run"),
        (process("x", "starting"), "is not ready yet"),
        (process("x", "silent", failure="does not answer at a:1"), "does not answer at a:1"),
        (process("x", "not ready", not_ready={"bus": "refused"}), "is not ready: bus: refused"),
        (
            process("x", "not ready", not_ready={"endpoint_3": ""}),
            "is not ready: endpoint_3: false",
        ),
    ],
)
def test_each_state_of_a_process_that_is_not_well_is_told(one: dict[str, Any], text: str) -> None:
    assert told(changed(processes=[process("y"), one])) == [("x", text)]


def test_every_check_of_the_page_has_its_remedy() -> None:
    assert {"started", "progress", "bus", "handler", "store", "endpoint", "broker"} == set(REMEDIES)


@pytest.mark.parametrize(
    ("times", "age_ms", "is_told"), [(3, 0, True), (2, 0, False), (3, RECENT_MS + 1, False)]
)
def test_only_restarts_again_and_again_are_judged(times: int, age_ms: int, is_told: bool) -> None:
    newest = [{"reason": "hung", "unix_ms": NOW - age_ms}] * times
    report = changed(processes=[process("x", restarts=times, newest_restarts=newest)])
    assert told(report) == ([("x", "had to be started again and again: hung")] if is_told else [])


@pytest.mark.parametrize(
    ("parts", "subject", "words"),
    [
        ({"bus": {"answers": False}}, "bus", "no broker answers at /bus.sock"),
        ({"unexpected_errors": 2}, "defects", "2 unexpected errors"),
        ({"rates": {"reply_timeouts_per_s": 0.5}}, "devices", "does not answer in time"),
        ({"buffer": {"why": "it is torn"}}, "buffer", "it is torn"),
        ({"buffer": {"bounds": {"total_full": 0.85, "device_full": 0.1}}}, "buffer", "85% full"),
        ({"buffer": {"bounds": {"total_full": 0.1, "device_full": 0.9}}}, "buffer", "90% full"),
        ({"buffer": {"growth": {"hours_left": 1.5}}}, "buffer", "full in 1 h 30 min"),
        (
            {"control_planes": [control_plane(session_is_up=False, broker_is_up=False)]},
            "control plane 0",
            "its broker b:1883 is not reached",
        ),
        (
            {"control_planes": [control_plane(session_is_up=False)]},
            "control plane 0",
            "there is no session",
        ),
    ],
)
def test_what_does_not_work_is_told(parts: dict[str, Any], subject: str, words: str) -> None:
    ((found, text),) = told(changed(**parts))
    assert found == subject
    assert words in text


def test_a_session_is_missed_only_while_somebody_has_something_to_say() -> None:
    down = [control_plane(session_is_up=False, broker_is_up=False)]
    resting = changed(control_planes=down, devices={"registered": 0})
    assert told(resting) == []
    resting["buffer"]["oldest_age_s"] = 60.0
    assert len(told(resting)) == 1


def test_a_session_that_nobody_knows_of_is_not_judged() -> None:
    assert told(changed(control_planes=[control_plane(session_is_up=None)])) == []
