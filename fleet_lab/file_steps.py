"""The steps of a fleet file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from fleet_lab.errors import LabError, nearest
from fleet_lab.faults import Process, direct_process
from fleet_lab.file_fleets import Links, link_of
from fleet_lab.fleets.spec import MAX_SIZE, FleetSpec
from fleet_lab.ledger.checks import Check
from fleet_lab.ledger.expressions import Within
from fleet_lab.steps import (
    UNDO_VERBS,
    VERBS,
    Act,
    Action,
    Cut,
    Heal,
    Scale,
    Send,
    SetLink,
    Step,
)
from fleet_lab.tables import Table, shown

FLEET_WORDS: Final = ("scale", "send", "link", "cut", "heal")
WORDS: Final = (*FLEET_WORDS, *VERBS)
"""What `do` may be."""
_MAY_LAST: Final = ("link", "cut", *UNDO_VERBS)


def read_steps(
    table: Table, fleets: Sequence[FleetSpec], links: Links, processes: Mapping[str, Process | None]
) -> tuple[Step, ...]:
    """All of `step`, in the file's order."""
    names = [name for row in table.rows("fleet") if isinstance(name := row.any("name"), str)]
    steps = [_step(row, fleets, names, links, processes) for row in table.rows("step")]
    return tuple(step for step in steps if step is not None)


def _step(
    row: Table,
    fleets: Sequence[FleetSpec],
    names: Sequence[str],
    links: Links,
    processes: Mapping[str, Process | None],
) -> Step | None:
    before = len(row.problems)
    word = row.one_of("do", WORDS, is_required=True)
    at_s, for_s = row.duration_s("at"), row.duration_s("for")
    when = row.made("when", _condition)
    if "at" not in row and "when" not in row:
        row.problem(None, 'a step needs at = "10s" or when = "answered > 100"')
    if "for" in row and word is not None and word not in _MAY_LAST:
        row.problem("for", f"{word} has no end; `for` belongs to {', '.join(_MAY_LAST)}")
    if for_s == 0:
        row.problem("for", "must be longer than 0")
    action: Action | None = None
    if word in FLEET_WORDS:
        action = _on_fleet(row, word, fleets, names, links)
    elif word is not None:
        action = _on_process(row, word, processes)
    name = row.text("name") or ""
    if word is not None:
        row.close()
    if action is None or len(row.problems) > before:
        return None
    return Step(action, at_s or 0.0, when, for_s, name)


def _condition(value: object) -> str:
    if not isinstance(value, str):
        raise LabError(f"expected a text, got {shown(value)}")
    if isinstance(Check(value).expression, Within):
        raise LabError("`within` looks back at a step; write for example answered > 100")
    return value


def _on_fleet(
    row: Table, word: str, fleets: Sequence[FleetSpec], names: Sequence[str], links: Links
) -> Action | None:
    name = row.one_of("fleet", names, is_required=True) or ""
    match word:
        case "scale":
            size = row.whole("size", 0, MAX_SIZE, is_required=True)
            return None if size is None else Scale(name, size)
        case "send":
            return _send(row, name, fleets)
        case "link":
            conditions = row.made("link", lambda value: link_of(value, links))
            if "link" not in row:
                row.text("link", is_required=True)
            share = row.share("share") or 1.0
            return None if conditions is None else SetLink(name, conditions, share)
        case "cut":
            return Cut(name, row.share("share") or 1.0)
        case _:
            return Heal(name)


def _send(row: Table, name: str, fleets: Sequence[FleetSpec]) -> Action | None:
    payload = row.any("payload")
    device = row.text("device")
    fleet = next((fleet for fleet in fleets if fleet.name == name), None)
    if device is not None and fleet is not None and fleet.index_of(device) is None:
        row.problem("device", f"fleet {name} has no {device!r}; its first is "
                    f"{fleet.device_spec(0).id!r}")  # fmt: skip
    if payload is None:
        row.problem("payload", "is missing; write a text or a table")
        return None
    try:
        encoded = payload if isinstance(payload, str) else json.dumps(payload)
    except (TypeError, ValueError):
        row.problem("payload", f"expected a text or a table, got {shown(payload)}")
        return None
    return Send(name, encoded.encode(), device)


def _on_process(row: Table, verb: str, processes: Mapping[str, Process | None]) -> Action | None:
    name = row.text("process", is_required=True)
    if name is None:
        return None
    process = processes.get(name) or direct_process(name)
    if process is None and name not in processes:
        near = nearest(name, processes) or (
            f"; there are {', '.join(sorted(processes))}" if processes
            else "; write pid:1234, compose:service or a [[process]]"
        )  # fmt: skip
        row.problem("process", f"unknown process {name!r}{near}")
    needed = {verb, UNDO_VERBS[verb]} if "for" in row and verb in UNDO_VERBS else {verb}
    missing = sorted(needed - set(process.verbs)) if process is not None else []
    if missing:
        row.problem("do", f"the lab did not start {name}, so it cannot {missing[0]} it; "
                    "pause it for a time instead")  # fmt: skip
    return Act(name, verb)
