"""Which processes a gateway has, and how each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from module_gateway.observe.status.probes import (
    Answer,
    ask_all,
    is_alive,
    memory_bytes,
    notes_in,
    read_note,
    uptime_s,
)
from module_gateway.runtime.restarts import GATEWAY
from module_gateway.runtime.state import RUN_FOLDER

OURS: Final = ("internal_server", "module_handler", "external_client")
"""What every gateway has, whoever starts them."""

RESTARTS_SHOWN: Final = 3


def gateway_note(state_dir: Path) -> dict[str, Any]:
    """What the supervisor that runs there wrote down; empty when none runs."""
    note = read_note(state_dir / RUN_FOLDER / f"{GATEWAY}.json")
    pid = note.get("pid")
    return note if isinstance(pid, int) and is_alive(pid) else {}


def look(state_dir: Path) -> tuple[list[dict[str, Any]], dict[str, Answer]]:
    """Every process with its state, and what those that answer said.

    States: "ready", "not ready", "starting", "silent" (it runs and does not answer), "ended".
    """
    supervised = gateway_note(state_dir).get("components", {})
    notes = {
        path.stem: read_note(path)
        for path in notes_in(state_dir / RUN_FOLDER)
        if path.stem != GATEWAY
    }
    names = list(supervised) if supervised else [*OURS, *(set(notes) - set(OURS))]
    addresses = {
        name: str(notes[name].get("addresses", {}).get("metrics", ""))
        for name in names
        if name in notes and is_alive(notes[name].get("pid"))
    }
    answers = ask_all({name: at for name, at in addresses.items() if at})
    found = [
        _process(name, supervised.get(name), notes.get(name, {}), answers.get(name))
        for name in names
    ]
    return found, answers


def _process(
    name: str, account: Mapping[str, Any] | None, note: Mapping[str, Any], answer: Answer | None
) -> dict[str, Any]:
    pid = note.get("pid")
    if account is not None:
        pid = account.get("pid")
    pid = pid if isinstance(pid, int) and is_alive(pid) else None
    is_noted = note.get("pid") == pid
    failed = _failed_checks(answer) if is_noted else {}
    account = account or {}
    return {
        "name": name,
        "state": _state(pid, account, answer if is_noted else None),
        "pid": pid,
        "uptime_s": None if pid is None else uptime_s(pid),
        "memory_bytes": None if pid is None else memory_bytes(pid),
        "not_ready": failed,
        "failure": "" if answer is None or not is_noted else answer.failure,
        "restarts": sum(account.get("restarts", {}).values()),
        "restart_reasons": account.get("restarts", {}),
        "newest_restarts": list(account.get("newest_restarts", ()))[-RESTARTS_SHOWN:],
        "addresses": note.get("addresses", {}) if is_noted and pid is not None else {},
    }


def _failed_checks(answer: Answer | None) -> dict[str, str]:
    if answer is None or answer.checks is None:
        return {}
    return {name: detail for name, (is_ok, detail) in answer.checks.items() if not is_ok}


def _state(pid: int | None, account: Mapping[str, Any], answer: Answer | None) -> str:
    if pid is None:
        return "ended"
    if answer is None:
        # Brokers and devices have no page of their own; ours have one as soon as they are ready.
        return "ready" if account.get("is_ready") else "starting"
    if answer.checks is None:
        return "silent"
    return "not ready" if _failed_checks(answer) else "ready"
