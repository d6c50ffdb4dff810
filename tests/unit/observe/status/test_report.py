from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from module_gateway.observe.status import report as status_report
from module_gateway.observe.status.probes import Answer
from module_gateway.observe.status.report import Reporter
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.config import default_settings
from tests.unit.observe.status.test_judgement import process

SERVER = "module_gateway_internal_server"
NAMES = ("module_handler", "internal_server", "external_client")


def metrics(statuses: int) -> str:
    return f"""\
# TYPE {SERVER}_statuses counter
{SERVER}_statuses_total {statuses}
# TYPE {SERVER}_connections gauge
{SERVER}_connections 2
# TYPE {SERVER}_closed counter
{SERVER}_closed_total{{reason="reply_timeout"}} {statuses}
{SERVER}_closed_total{{reason="closed_by_peer"}} 1000
# TYPE module_gateway_bus_is_up gauge
module_gateway_bus_is_up 1
# TYPE module_gateway_unexpected_errors counter
module_gateway_unexpected_errors_total{{component="x"}} 1
"""


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Answer]]:
    """What the processes say, look by look."""
    found: list[dict[str, Answer]] = []

    def look(_state_dir: Path) -> tuple[list[dict[str, Any]], dict[str, Answer]]:
        return [process(name) for name in NAMES], found.pop(0)

    async def answers(_location: object) -> bool:
        await asyncio.sleep(0)
        return True

    monkeypatch.setattr(status_report, "look", look)
    monkeypatch.setattr(status_report, "broker_answers", answers)
    monkeypatch.setenv("IPC_MQTT_SOCKET", "/nowhere/bus.sock")
    return found


def reporter(tmp_path: Path, clock: list[float], durability: str = "power") -> Reporter:
    settings = default_settings()
    own = settings.module_handler_settings.model_copy(update={"durability": durability})
    update = {"state_dir": tmp_path, "module_handler_settings": own}
    return Reporter(settings.model_copy(update=update), lambda: clock.pop(0))


def test_rates_are_those_between_two_looks(tmp_path: Path, looks: list[dict[str, Answer]]) -> None:
    looks += [
        {"internal_server": Answer({}, metrics(100))},
        {"internal_server": Answer({}, metrics(120))},
    ]
    asked = reporter(tmp_path, [1.0, 3.0])
    assert asked.report()["rates"]["statuses_in_per_s"] is None
    found = asked.report()
    assert found["rates"]["statuses_in_per_s"] == 10.0
    assert found["rates"]["reply_timeouts_per_s"] == 10.0
    assert found["devices"] == {"connections": 2, "registered": None}
    assert found["bus"]["connected"] == {"internal_server": True}
    assert found["unexpected_errors"] == 1
    assert {each["subject"] for each in found["problems"]} == {"defects", "devices"}
    assert found["ok"] is False


def test_sessions_are_unknown_while_the_external_client_is_silent(
    tmp_path: Path, looks: list[dict[str, Answer]]
) -> None:
    looks.append({})
    (each,) = reporter(tmp_path, [1.0]).report()["control_planes"]
    assert (each["session_is_up"], each["broker_is_up"]) == (None, None)


def test_sessions_are_those_that_the_external_client_says(
    tmp_path: Path, looks: list[dict[str, Answer]]
) -> None:
    name = "module_gateway_external_client_session_is_up"
    looks.append(
        {"external_client": Answer({}, f'# TYPE {name} gauge\n{name}{{endpoint="0"}} 1\n')}
    )
    looks.append({"external_client": Answer({}, "")})
    asked = reporter(tmp_path, [1.0, 2.0])
    (each,) = asked.report()["control_planes"]
    assert (each["session_is_up"], each["broker_is_up"]) == (True, False)
    (never,) = asked.report()["control_planes"]
    assert never["session_is_up"] is False


def test_a_handler_without_a_store_says_itself_what_waits(
    tmp_path: Path, looks: list[dict[str, Answer]]
) -> None:
    name = "module_gateway_module_handler_size"
    text = f'# TYPE {name} gauge\n{name}{{of="outbox_entries"}} 7\n{name}{{of="outbox_bytes"}} 9\n'
    looks.append({"module_handler": Answer({}, text)})
    found = reporter(tmp_path, [1.0], "memory").report()["buffer"]
    assert found == {"durability": "memory", "entries": 7, "bytes": 9}


def test_a_store_that_cannot_be_read_is_a_problem(
    tmp_path: Path, looks: list[dict[str, Answer]]
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/handler.db").write_bytes(b"x" * 5000)
    looks.append({})
    found = reporter(tmp_path, [1.0]).report()
    assert [each["remedy"] for each in found["problems"]] == ["module-gateway buffer check"]


def test_a_folder_that_may_not_be_read_is_not_taken_for_a_gateway_that_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_report.os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="ask as the gateway's own user, or as root"):
        reporter(tmp_path, [1.0]).report()
