"""What the lab tells a person when something is not as it must be: one line and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

FAILED: Final = 1
USAGE: Final = 2
CONFIGURATION: Final = 78
"""Exit codes of design 6: the run failed, the command line is wrong, a file is wrong."""


class LabError(Exception):
    """One sentence for a person; the command line prints `fleet-lab: <text>` and nothing else.

    Attributes:
        exit_code: 1 failed, 2 usage, 78 configuration.
    """

    def __init__(self, text: str, exit_code: int = FAILED) -> None:
        self.exit_code = exit_code
        super().__init__(text)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known spelling, "" when nothing is close."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
