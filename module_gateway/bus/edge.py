"""The edge between the bus and the code that it tells: nothing thrown there may hurt the bus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec

from module_gateway.bus import metrics
from module_gateway.runtime.log import get_logger

P = ParamSpec("P")

_log: Final = get_logger(__name__)


def notify(listener: Callable[P, None], /, *args: P.args, **kwargs: P.kwargs) -> bool:
    """Call a listener as a supervisor: an exception is logged and counted, never passed on.

    One message that a listener cannot digest must not end the receiving of all others
    (performance 3, lessons of the prototype).

    Returns:
        Whether the listener returned normally.
    """
    try:
        listener(*args, **kwargs)
    except Exception:  # noqa: BLE001  # a named supervisor edge: the bus must go on
        metrics.LISTENER_FAILURES.inc()
        name = getattr(listener, "__qualname__", type(listener).__name__)
        _log.exception("bus_listener_failed", listener=name)
        return False
    return True
