"""Whether a process may be relied on: named checks, asked over HTTP as /readyz."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STARTED: Final = "started"
"""The check that `Runtime.announce_ready` passes."""


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of being ready; `detail` says in words why not."""

    is_ok: bool
    detail: str = ""


class Health:
    """The checks of one process. It is ready when all of them are true."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {STARTED: Check(is_ok=False, detail="starting")}

    def set(self, name: str, is_ok: bool, detail: str = "") -> None:  # noqa: FBT001
        """Record the present outcome of check `name`; a new name is a new check."""
        self._checks[name] = Check(is_ok, detail)

    @property
    def is_ready(self) -> bool:
        """All checks are true."""
        return all(check.is_ok for check in self._checks.values())

    def report(self) -> dict[str, object]:
        """What /readyz answers, ready to become JSON."""
        return {
            "ready": self.is_ready,
            "checks": {
                name: {"ok": check.is_ok, "detail": check.detail}
                for name, check in self._checks.items()
            },
        }
