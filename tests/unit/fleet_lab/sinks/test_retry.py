from __future__ import annotations

import errno

import pytest

from fleet_lab.sinks.retry import cause


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('h', 1)"),
         "Connection refused"),
        (OSError("Multiple exceptions: …"), "Multiple exceptions: …"),
        (OSError(-2, "Name or service not known"), "Name or service not known"),
        (OSError(), "OSError"),
        (TimeoutError(), "no answer in time"),
        (RuntimeError("[Errno 111] Connection refused"), "Connection refused"),
        (RuntimeError("two\nlines"), "two lines"),
        (RuntimeError(), "RuntimeError"),
    ],
)  # fmt: skip
def test_a_cause_is_a_few_words_on_one_line(error: Exception, text: str) -> None:
    assert cause(error) == text
