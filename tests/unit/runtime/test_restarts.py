from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from module_gateway.runtime.restarts import (
    HUNG,
    RESTARTS,
    RESTARTS_KEPT,
    Account,
    exit_reason,
    read_restarts,
    restarts_environment,
    serve_restarts,
    write_gateway_note,
)
from module_gateway.runtime.state import ensure_state_dir, read_run_note, run_note_path


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited 0"),
        (7, "exited 7"),
        (-9, "killed by signal 9 (SIGKILL)"),
        (-126, "killed by signal 126"),
    ],
)
def test_an_end_has_words(code: int, words: str) -> None:
    assert exit_reason(code) == words


def test_all_restarts_are_counted_and_the_newest_are_kept() -> None:
    account = Account(starts=RESTARTS_KEPT + 2)
    account.ended(HUNG, 1)
    for unix_ms in range(2, RESTARTS_KEPT + 2):
        account.ended("exited 7", unix_ms)
    report = account.report()
    newest = report["newest_restarts"]

    assert report["restarts"] == {"hung": 1, "exited 7": RESTARTS_KEPT}
    assert isinstance(newest, list)
    assert len(newest) == RESTARTS_KEPT
    assert newest[-1] == {"reason": "exited 7", "unix_ms": RESTARTS_KEPT + 1}


def test_the_note_says_what_happened_to_each_process(tmp_path: Path) -> None:
    ensure_state_dir(tmp_path)
    account = Account(pid=77, is_ready=True, starts=2)
    account.ended(HUNG, 5)
    write_gateway_note(tmp_path, os.getpid(), {"module_handler": account})
    note = json.loads(run_note_path(tmp_path, "gateway").read_text())

    assert note["components"] == {
        "module_handler": {
            "pid": 77,
            "is_ready": True,
            "starts": 2,
            "restarts": {"hung": 1},
            "newest_restarts": [{"reason": "hung", "unix_ms": 5}],
        }
    }
    run_note = read_run_note(tmp_path, "gateway")
    assert run_note is not None
    assert run_note.pid == os.getpid()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["gateway.json"]


def test_a_disk_that_refuses_the_note_stops_nobody(tmp_path: Path) -> None:
    with capture_logs() as logs:
        write_gateway_note(tmp_path / "missing", 1, {})

    assert [line["event"] for line in logs] == ["gateway_note_not_written"]


def test_a_process_serves_what_happened_to_those_before_it() -> None:
    account = Account()
    account.ended(HUNG, 1)
    account.ended(HUNG, 2)
    serve_restarts("of_a_test", restarts_environment(account))

    assert RESTARTS.labels("of_a_test", "hung")._value.get() == 2


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "x"}', "7", '{"hung": -1}'])
def test_a_wrong_account_is_no_reason_to_fail(text: str) -> None:
    serve_restarts("of_nobody", {"MODULE_GATEWAY_RESTARTS": text})
    counted = [
        sample
        for metric in RESTARTS.collect()
        for sample in metric.samples
        if sample.labels["component"] == "of_nobody"
    ]

    assert counted == []


def test_restarts_of_a_running_gateway_can_be_read(tmp_path: Path) -> None:
    ensure_state_dir(tmp_path)
    account = Account()
    account.ended(HUNG, 0)
    account.ended("exited 1", 1_000)
    accounts = {"module_handler": account, "internal_server": Account(starts=1)}
    write_gateway_note(tmp_path, os.getpid(), accounts)

    assert read_restarts(tmp_path) == {
        "module_handler": ({"hung": 1, "exited 1": 1}, "1970-01-01 00:00:01 UTC")
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "{}",
        '{"pid": 2147483647, "components": {}}',
        '{"pid": 1, "components": {"a": {"restarts": {"hung": 1}, "newest_restarts": []}}}',
    ],
)
def test_a_note_of_no_use_tells_of_no_restarts(tmp_path: Path, text: str) -> None:
    ensure_state_dir(tmp_path)
    assert read_restarts(tmp_path) == {}
    run_note_path(tmp_path, "gateway").write_text(text)
    assert read_restarts(tmp_path) == {}
