"""Every connected device needs an open file."""

from __future__ import annotations

import gc
import resource
from typing import Final

from fleet_lab.errors import LabError

SPARE_FILES: Final = 64
"""For the process itself: loop, log, control socket, libraries."""


def require_files(devices: int) -> None:
    """Raise this process's limit of open files to what `devices` connections need.

    Raises:
        LabError: the system does not allow that many; the text says what to do.
    """
    needed = devices + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LabError(
            f"{devices} devices in one process need {needed} open files, the limit is {hard}; "
            f"raise it with `ulimit -n {needed}` or use more workers"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def settle_memory() -> None:
    """For a process that exists for its devices: no more searching through them for garbage.

    They live as long as the process, and a search through ten thousand of them is 50 ms of lag.
    """
    gc.collect()
    gc.freeze()
