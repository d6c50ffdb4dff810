"""How the lab says that it cannot go on: one line for a person, one exit code for a script."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CONFIG: Final = 78
"""The four exit codes of design 6."""


class LabError(Exception):
    """The work cannot be done; the text is one line that says what is wrong and what to do.

    Args:
        text: without a program name and without a final newline.
        exit_code: 1 the run failed, 2 wrong usage, 78 a file or configuration cannot be used.
    """

    def __init__(self, text: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(text)
        self.text = text
        self.exit_code = exit_code


def missing_extra(library: str, extra: str, purpose: str) -> LabError:
    """The error for a library that is not installed; it names the extra that brings it."""
    return LabError(
        f"{purpose} needs {library}, which is not installed; "
        f"type: pip install 'module-gateway[{extra}]'"
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known spelling, "" when nothing is close."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
