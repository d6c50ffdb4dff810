"""Why processes had to be started again: counted per reason, and written down for people.

The supervisor keeps the account, writes it to `<state-dir>/run/gateway.json` and hands each new
process its own part, which that process serves as a metric.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter as Tally
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from prometheus_client import Counter

from module_gateway.runtime.log import get_logger
from module_gateway.runtime.state import run_note_path

GATEWAY: Final = "gateway"
RESTARTS_VARIABLE: Final = "MODULE_GATEWAY_RESTARTS"
RESTARTS_KEPT: Final = 20
"""Per component, newest last; all are counted."""
HUNG: Final = "hung"
NOT_READY: Final = "not ready in time"

RESTARTS: Final = Counter(
    "module_gateway_restarts",
    "How often the supervisor had to start this process again, and why.",
    ["component", "reason"],
)

_log = get_logger(__name__)


def exit_reason(code: int) -> str:
    """How a process ended by itself or by a signal."""
    if code >= 0:
        return f"exited {code}"
    try:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"killed by signal {-code}"


@dataclass(frozen=True, slots=True)
class Restart:
    """One end that nobody had asked for."""

    reason: str
    unix_ms: int


@dataclass(slots=True)
class Account:
    """What is known about one component's life so far."""

    pid: int | None = None
    is_ready: bool = False
    starts: int = 0
    reasons: Tally[str] = field(default_factory=Tally)
    newest: deque[Restart] = field(default_factory=lambda: deque(maxlen=RESTARTS_KEPT))

    def ended(self, reason: str, unix_ms: int) -> None:
        """It has to be started again."""
        self.reasons[reason] += 1
        self.newest.append(Restart(reason, unix_ms))

    def report(self) -> dict[str, object]:
        """Ready to become JSON."""
        return {
            "pid": self.pid,
            "is_ready": self.is_ready,
            "starts": self.starts,
            "restarts": dict(self.reasons),
            "newest_restarts": [asdict(restart) for restart in self.newest],
        }


def write_gateway_note(state_dir: Path, pid: int, accounts: Mapping[str, Account]) -> None:
    """Replace the note at once. A disk that refuses it must not stop the supervisor."""
    note = {
        "component": GATEWAY,
        "pid": pid,
        "addresses": {},
        "components": {name: account.report() for name, account in accounts.items()},
    }
    path = run_note_path(state_dir, GATEWAY)
    draft = path.with_suffix(f".{pid}.new")
    try:
        draft.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        _log.warning("gateway_note_not_written", reason=error.strerror or str(error))


def read_restarts(state_dir: Path) -> dict[str, tuple[dict[str, int], str]]:
    """Of each component that was started again: how often per reason, and when last (UTC).

    Empty when no gateway runs here, or nothing can be read.
    """
    found: dict[str, tuple[dict[str, int], str]] = {}
    try:
        note = json.loads(run_note_path(state_dir, GATEWAY).read_text(encoding="utf-8"))
        os.kill(int(note["pid"]), 0)
        for name, report in note["components"].items():
            if report["restarts"]:
                last = int(report["newest_restarts"][-1]["unix_ms"]) / 1000
                moment = datetime.fromtimestamp(last, UTC)
                reasons = {str(reason): int(n) for reason, n in report["restarts"].items()}
                found[str(name)] = (reasons, f"{moment:%Y-%m-%d %H:%M:%S} UTC")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError):
        return {}
    return found


def restarts_environment(account: Account) -> dict[str, str]:
    """What its next process is told."""
    return {RESTARTS_VARIABLE: json.dumps(dict(account.reasons))}


def serve_restarts(component: str, environ: Mapping[str, str]) -> None:
    """Count in this process what its supervisor says of the ones before it."""
    try:
        reasons = dict(json.loads(environ.get(RESTARTS_VARIABLE, "{}")))
        counted = {str(reason): int(times) for reason, times in reasons.items()}
    except (ValueError, TypeError):
        return
    for reason, times in counted.items():
        if times > 0:
            RESTARTS.labels(component, reason).inc(times)
