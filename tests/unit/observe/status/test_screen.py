from __future__ import annotations

from module_gateway.observe.status.judgement import problems
from module_gateway.observe.status.screen import screen
from tests.unit.observe.status.test_judgement import NOW, WELL, changed, control_plane, process


def test_a_gateway_that_is_well_fits_on_one_screen() -> None:
    shown = screen(WELL)
    assert shown.endswith("\nall is well\n")
    assert len(shown.splitlines()) <= 24
    assert max(len(line) for line in shown.splitlines()) <= 120
    for words in (
        "state folder /state, supervisor 6",
        "3 connected, 3 registered",
        "1.0/s in, 1.0/s applied, 0.5/s to the outbox, ?/s upstream".replace("?/s", "?"),
        "half within 5 ms, 99 % within 10 ms",
        "1 entries, 300 B, the oldest for 2 s; not growing, 10.0% full",
        "b:1883: session, 2 in flight",
    ):
        assert words in shown


def test_what_is_wrong_stands_last_with_what_to_do() -> None:
    restarts = {"hung": 2, "exited 1": 1}
    newest = [{"reason": "hung", "unix_ms": NOW}]
    one = process(
        "module_handler", "not ready", not_ready={"store": "no space left"}, restarts=3,
        restart_reasons=restarts, newest_restarts=newest,
    )  # fmt: skip
    report = changed(processes=[one], ok=False)
    report["problems"] = problems(report, NOW)
    lines = screen(report).splitlines()
    assert lines[-1].startswith("WRONG module_handler: is not ready: store: no space left → look")
    assert any("3: hung (2), exited 1 (1), last 2033-05-18 03:33:20 UTC" in line for line in lines)
    assert any(line.strip() == "store: no space left" for line in lines)


def test_what_nobody_knows_is_a_question_mark() -> None:
    shown = screen(
        changed(
            devices={"connections": None, "registered": None},
            rates={"reply_wait_p50_ms": None, "reply_wait_p99_ms": None},
            control_planes=[control_plane(session_is_up=None, broker_is_up=None)],
            gateway_pid=None,
        )
    )
    assert "? connected, ? registered" in shown
    assert "b:1883: nobody says" in shown
    assert "no supervisor" in shown
    assert "none yet" in shown


def test_a_buffer_in_memory_says_so() -> None:
    report = changed()
    report["buffer"] = {"durability": "memory", "entries": 5, "bytes": 2048}
    assert "5 entries, 2.0 KiB, in memory only" in screen(report)


def test_an_outage_is_told_apart_from_a_silent_control_plane() -> None:
    away = control_plane(session_is_up=False, broker_is_up=False, folded_devices=2)
    silent = control_plane(session_is_up=False, endpoint=1)
    shown = screen(changed(control_planes=[away, silent]))
    assert "b:1883: not connected, 2 in flight, 2 devices folded" in shown
    assert "b:1883: connected, no session" in shown
