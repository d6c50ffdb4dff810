from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from module_gateway.observe.status import processes
from module_gateway.observe.status.probes import Answer
from module_gateway.observe.status.processes import gateway_note, look

OWN = os.getpid()
DEAD = 2**22 + 1
"""Above every pid_max."""


def note(folder: Path, name: str, pid: int, **more: object) -> None:
    (folder / "run").mkdir(exist_ok=True)
    fields = {"component": name, "pid": pid, "addresses": {"metrics": "127.0.0.1:1"}, **more}
    (folder / f"run/{name}.json").write_text(json.dumps(fields))


def account(pid: int | None, *, is_ready: bool = True, **more: object) -> dict[str, Any]:
    return {"pid": pid, "is_ready": is_ready, "restarts": {}, "newest_restarts": [], **more}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    monkeypatch.setattr(
        processes, "ask_all", lambda asked: {name: found[name] for name in asked if name in found}
    )
    return found


def states(folder: Path) -> dict[str, str]:
    return {each["name"]: each["state"] for each in look(folder)[0]}


def test_where_nothing_runs_everything_has_ended(tmp_path: Path) -> None:
    assert set(states(tmp_path).values()) == {"ended"}
    assert gateway_note(tmp_path) == {}


def test_a_supervisors_processes_are_shown_with_their_states(
    tmp_path: Path, answers: dict[str, Answer]
) -> None:
    restarts = {"restarts": {"hung": 2}, "newest_restarts": [{"reason": "hung", "unix_ms": 5}]}
    components = {
        "bus_broker": account(OWN),
        "module_handler": account(OWN, **restarts),
        "internal_server": account(OWN),
        "external_client": account(OWN, is_ready=False),
        "device_car": account(DEAD),
        "control_plane": account(OWN),
    }
    note(tmp_path, "gateway", OWN, components=components)
    for name in ("module_handler", "internal_server", "control_plane"):
        note(tmp_path, name, OWN)
    answers["module_handler"] = Answer({"bus": (True, ""), "store": (True, "")})
    answers["internal_server"] = Answer({"bus": (False, "refused"), "handler": (True, "")})
    answers["control_plane"] = Answer(failure="does not answer at 127.0.0.1:1: timed out")
    assert states(tmp_path) == {
        "bus_broker": "ready", "module_handler": "ready", "internal_server": "not ready",
        "external_client": "starting", "device_car": "ended", "control_plane": "silent",
    }  # fmt: skip
    found = {each["name"]: each for each in look(tmp_path)[0]}
    assert found["internal_server"]["not_ready"] == {"bus": "refused"}
    assert (found["module_handler"]["restarts"], found["module_handler"]["restart_reasons"]) == (
        2,
        {"hung": 2},
    )
    assert found["control_plane"]["failure"].endswith("timed out")
    assert found["device_car"]["pid"] is None


def test_processes_without_a_supervisor_are_known_by_their_notes(
    tmp_path: Path, answers: dict[str, Answer]
) -> None:
    note(tmp_path, "gateway", DEAD, components={"module_handler": account(DEAD)})
    note(tmp_path, "module_handler", OWN)
    note(tmp_path, "internal_server", DEAD)
    answers["module_handler"] = Answer({"started": (True, "")})
    assert states(tmp_path) == {
        "internal_server": "ended", "module_handler": "ready", "external_client": "ended",
    }  # fmt: skip


def test_the_note_of_an_earlier_life_is_not_believed(
    tmp_path: Path, answers: dict[str, Answer]
) -> None:
    note(tmp_path, "gateway", OWN, components={"module_handler": account(OWN, is_ready=False)})
    note(tmp_path, "module_handler", os.getppid())
    answers["module_handler"] = Answer({"started": (True, "")})
    assert states(tmp_path) == {"module_handler": "starting"}
