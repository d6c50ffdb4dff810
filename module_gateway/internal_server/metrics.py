"""What the internal server counts. Labels `reason` take the words of `errors.Reason`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

_PREFIX: Final = "module_gateway_internal_server"

_WAIT_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5)
"""Up to the reply window of 250 ms (fleet-protocol 2.6) and a little beyond."""


class Tally(Collector):
    """A counter of the hot path: a plain number that is read when somebody asks for it.

    prometheus-client's own takes a lock and two calls for each count.
    """

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        self._count = 0
        REGISTRY.register(self)

    def add(self) -> None:
        """One more."""
        self._count += 1

    def collect(self) -> Iterable[CounterMetricFamily]:
        """See Collector."""
        yield CounterMetricFamily(self._name, self._text, value=self._count)


class Waits(Collector):
    """A histogram of waits on the hot path, like `Tally`."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        self._counts = [0] * (len(_WAIT_BUCKETS_S) + 1)
        self._sum_s = 0.0
        REGISTRY.register(self)

    def observe(self, waited_s: float) -> None:
        """One more, of so many seconds."""
        self._counts[bisect_left(_WAIT_BUCKETS_S, waited_s)] += 1
        self._sum_s += waited_s

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """See Collector."""
        bounds = [*map(str, _WAIT_BUCKETS_S), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets, self._sum_s)


CONNECTIONS: Final = Gauge(f"{_PREFIX}_connections", "Open device connections")
ACCEPTED: Final = Counter(f"{_PREFIX}_accepted", "Device connections accepted so far")
CLOSED: Final = Counter(f"{_PREFIX}_closed", "Device connections that ended", ["reason"])
CONNECT_RESPONSES: Final = Counter(
    f"{_PREFIX}_connect_responses", "Answers to connects by response type", ["response"]
)
STATUSES: Final = Tally(f"{_PREFIX}_statuses", "Statuses handed over to a handler")
REPLY_WAIT: Final = Waits(
    f"{_PREFIX}_reply_wait_seconds", "From handing a status over to writing its command"
)
CONNECT_WAIT: Final = Histogram(
    f"{_PREFIX}_connect_wait_seconds",
    "From handing a connect over to writing its response",
    buckets=_WAIT_BUCKETS_S,
)
PUSHES: Final = Counter(f"{_PREFIX}_pushed_commands", "Commands written to push-only devices")
DROPPED: Final = Counter(
    f"{_PREFIX}_dropped", "Messages that were thrown away, late replies among them", ["reason"]
)
UNANSWERED: Final = Gauge(
    f"{_PREFIX}_unanswered", "Requests whose answer is outstanding, all handlers together"
)
UNANSWERED_LIMIT: Final = Gauge(
    f"{_PREFIX}_unanswered_limit",
    "Requests that may be outstanding, all handlers together: it follows how fast they answer",
)
HELD: Final = Counter(f"{_PREFIX}_held", "Times a device was held back by a saturated handler")
BUFFERED_BYTES: Final = Gauge(
    f"{_PREFIX}_buffered_bytes", "Received bytes of frames that are not taken yet"
)
SLOWED: Final = Counter(
    f"{_PREFIX}_slowed", "Ends that were put off because a device broke the protocol once too often"
)
DEFECTS: Final = Counter(
    f"{_PREFIX}_defects", "Connections that were closed because of an exception of ours"
)
