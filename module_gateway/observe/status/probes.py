"""Questions that every process answers, and what the system knows of it. Nothing is disturbed."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from module_gateway.observe.status.figures import Figures, read_figures

ANSWER_LIMIT_S: Final = 3.0
"""A healthy process answers in milliseconds; one on a starved machine in a second or two."""

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024

_PROC: Final = Path("/proc")
_START_FIELD: Final = 19
"""Of `/proc/<pid>/stat` behind the name: `starttime`, field 22 (proc(5))."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process said about itself.

    Attributes:
        checks: of /readyz: name → (is it true, what is wrong); None when it did not answer.
        metrics_text: of /metrics; "" when it did not answer.
        failure: why it did not answer.
    """

    checks: Mapping[str, tuple[bool, str]] | None = None
    metrics_text: str = ""
    failure: str = ""

    @property
    def figures(self) -> Figures:
        """The metrics; none when they cannot be read."""
        try:
            return read_figures(self.metrics_text)
        except ValueError:
            return Figures()


def ask(address: str, limit_s: float = ANSWER_LIMIT_S) -> Answer:
    """Ask the process with this `host:port` for its checks and metrics."""
    try:
        ready = json.loads(_get(address, "/readyz", limit_s))
        checks = {
            str(name): (bool(each["ok"]), str(each["detail"]))
            for name, each in ready["checks"].items()
        }
        return Answer(checks, _get(address, "/metrics", limit_s).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        return Answer(failure=f"does not answer at {address}: {str(error) or type(error).__name__}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Answer(failure=f"somebody else answers at {address}")


def ask_all(addresses: Mapping[str, str], limit_s: float = ANSWER_LIMIT_S) -> dict[str, Answer]:
    """Ask several at the same time."""
    if not addresses:
        return {}
    with ThreadPoolExecutor(len(addresses), "ask") as threads:
        asked = {name: threads.submit(ask, at, limit_s) for name, at in addresses.items()}
        return {name: future.result() for name, future in asked.items()}


def _get(address: str, path: str, limit_s: float) -> bytes:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise OSError("no such address")
    connection = http.client.HTTPConnection(host, int(port), timeout=limit_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(MAX_ANSWER_BYTES)
    finally:
        connection.close()


def is_alive(pid: int | None) -> bool:
    """Whether there is such a process; one that ended and was not reaped is none."""
    if pid is None or pid <= 0:
        return False
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] not in (["Z"], ["X"])


def uptime_s(pid: int) -> float | None:
    """How long it has run; None when the system does not say."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        started = int(stat.rpartition(")")[2].split()[_START_FIELD])
        machine_s = float((_PROC / "uptime").read_text(encoding="ascii").split()[0])
        return max(0.0, machine_s - started / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return None


def memory_bytes(pid: int) -> int | None:
    """Its resident memory; None when the system does not say."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def read_note(path: Path) -> dict[str, Any]:
    """A run note; empty when there is none or it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def notes_in(folder: Path) -> Iterable[Path]:
    """All run notes of a state folder, in the order of their names."""
    try:
        return sorted(folder.glob("*.json"))
    except OSError:
        return ()
