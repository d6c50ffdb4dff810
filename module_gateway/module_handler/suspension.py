"""Devices whose module calls hang again and again are left alone for a while.

Pure. Each hanging call costs the whole handler the module time limit, so a device that makes its
module hang is refused without asking the module: it harms only itself (issue 2, case 25).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from module_gateway.protocol.identity import Identity

HANGS_IN_A_ROW: Final = 3
BACKOFF_MIN_S: Final = 5.0
BACKOFF_MAX_S: Final = 300.0
MAX_SUSPECTS: Final = 4_096
"""Identities that are kept in mind; the one that hung longest ago is forgotten first."""


@dataclass(slots=True, eq=False)
class _Suspect:
    hangs: int = 0
    suspended_until: float = 0.0
    backoff_s: float = BACKOFF_MIN_S


class Suspensions:
    """Who hung lately, and who is suspended. Devices that never hang cost one lookup."""

    __slots__ = ("_suspects",)

    def __init__(self) -> None:
        self._suspects: dict[Identity, _Suspect] = {}

    def is_suspended(self, identity: Identity, now: float) -> bool:
        """Whether the module must not be asked for this device now."""
        suspect = self._suspects.get(identity)
        return suspect is not None and now < suspect.suspended_until

    def hung(self, identity: Identity, now: float) -> None:
        """A call for this device used up its time.

        After a back-off one more hang suspends it again, for twice as long.
        """
        suspect = self._suspects.pop(identity, None) or _Suspect()
        self._suspects[identity] = suspect
        suspect.hangs += 1
        if suspect.hangs >= HANGS_IN_A_ROW:
            suspect.suspended_until = now + suspect.backoff_s
            suspect.backoff_s = min(2 * suspect.backoff_s, BACKOFF_MAX_S)
        if len(self._suspects) > MAX_SUSPECTS:
            del self._suspects[next(iter(self._suspects))]

    def worked(self, identity: Identity) -> None:
        """All calls for one status of this device came back."""
        if self._suspects:
            self._suspects.pop(identity, None)
