"""How a sink comes back: waits that double, with jitter, and words for what went wrong."""

from __future__ import annotations

import os
import re
from typing import Final

OPEN_TIMEOUT_S: Final = 5.0
REPLY_TIMEOUT_S: Final = 5.0
"""Far beyond a gateway's own 250 ms: when this fires the far side is hung, not slow."""
BACKOFF_MIN_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
"""From the first wait to the longest: a fleet that lost its gateway must not become a flood."""

_ERROR_NUMBER: Final = re.compile(r"^\[Errno -?\d+\] ")


def cause(error: BaseException) -> str:
    """A word of the system's; asyncio wraps it into "Connect call failed" and the address."""
    if isinstance(error, OSError):
        if error.errno is not None and error.errno > 0:
            return os.strerror(error.errno)
        if error.strerror:
            return error.strerror
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = _ERROR_NUMBER.sub("", " ".join(str(error).split()))
    return text or type(error).__name__
