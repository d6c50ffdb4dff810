"""The ledger: hears devices and taps, joins both, gives the verdict.

Pure but for the histogram library: no socket, no clock. Recorders of several fleets and batches
of several workers may come in any mixture, as long as each device's own events keep their order.

Memory: nine bytes per attempt that is not settled (`attempts.py`), at most MAX_ATTEMPTS of them
over all devices (162 MB), about 1 KiB per device, 190 KiB per histogram.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fleet_lab.ledger.attempts import Attempts
from fleet_lab.ledger.batch import replay
from fleet_lab.ledger.events import TapEvent, Upstream
from fleet_lab.ledger.histogram import Histogram
from fleet_lab.ledger.join import DeviceJoin
from fleet_lab.ledger.rules import MergeRule, rule_of_module
from fleet_lab.ledger.series import SeriesCollector
from fleet_lab.ledger.sessions import Applied, Settled, VehicleSessions
from fleet_lab.ledger.tally import Tally
from fleet_lab.ledger.verdict import Heard, Verdict, make_verdict
from module_gateway.protocol.identity import Identity

LATE_S: Final = 0.25
"""The gateway's own deadline for an answer (fleet-protocol 2.6)."""
MAX_ATTEMPTS: Final = 16 << 20
MIN_WINDOW: Final = 1024
MAX_WINDOW: Final = 1 << 16
MAX_REASONS: Final = 64
"""Different reasons of closing that are counted apart; a gateway has a dozen."""


@dataclass(frozen=True, slots=True)
class Enlisted:
    """A device that the verdict speaks about.

    Attributes:
        id: what people call it; also what it writes as `id` into its statuses.
        vehicle: `company/vehicle` when the same identity exists in several, else None.
        is_numbered: whether its statuses carry their number upstream (`n`).
    """

    id: str
    identity: Identity
    vehicle: str | None = None
    is_numbered: bool = True

    @property
    def rule(self) -> MergeRule:
        """How its statuses may be merged."""
        return rule_of_module(self.identity.module) if self.is_numbered else MergeRule.ORDERED


class Ledger:
    """One run.

    Args:
        start_s: monotonic time of the run's start; the series counts from it.
        is_tapped: whether a tap tells what arrives upstream. Without one nothing is said about
            losses: a word that was not judged is absent from the verdict.
    """

    def __init__(self, start_s: float, *, is_tapped: bool) -> None:
        self.start_s = start_s
        self.is_tapped = is_tapped
        self.latencies = {"reply": Histogram(), "lag": Histogram()}
        if is_tapped:
            self.latencies |= {"upstream": Histogram(), "acknowledgement": Histogram()}
        self.collector = SeriesCollector(start_s)
        self.heard = Heard()
        self.tally = Tally()
        self._fleets: dict[str, FleetLedger] = {}
        self._by_identity: dict[tuple[str | None, Identity], DeviceJoin] = {}
        self._by_id: dict[str, DeviceJoin] = {}
        self._joins: list[DeviceJoin] = []
        self._vehicles: dict[str, VehicleSessions] = {}

    def enlist(self, fleet: str, devices: Iterable[Enlisted]) -> FleetLedger:
        """Add devices at the end of a fleet, which need not exist yet; gives its Recorder."""
        ledger = self._fleets.setdefault(fleet, FleetLedger(self))
        added = tuple(devices)
        share = MAX_ATTEMPTS // (len(self._joins) + len(added) + 1)
        for device in added:
            ledger.add(self._join_of(device, min(max(share, MIN_WINDOW), MAX_WINDOW)))
        return ledger

    def upstream(self, event: TapEvent) -> None:
        """What a tap saw, in the order of the wire per vehicle."""
        sessions = self._vehicles.setdefault(event.vehicle, VehicleSessions())
        if isinstance(event, Upstream):
            self._published(event)
        for settled in sessions.step(event):
            self._settle(settled)

    def flush(self) -> None:
        """The run is over: nothing more will be told. `verdict` is final after this."""
        for sessions in self._vehicles.values():
            for settled in sessions.flush():
                self._settle(settled)
        for join in self._joins:
            join.flush()

    def verdict(self, *, is_final: bool = True) -> Verdict:
        """The words so far. Not final: what is still open is not called lost or in doubt."""
        tally = self.tally.copy()
        if is_final:
            for join in self._joins:
                join.tally_rest(tally)
        for sessions in self._vehicles.values():
            tally.add("redelivered", sessions.redelivered)
            tally.add("stray", sessions.stray)
        return make_verdict(
            tally, self.heard, self.latencies, is_tapped=self.is_tapped, is_final=is_final
        )

    def _join_of(self, device: Enlisted, window: int) -> DeviceJoin:
        attempts = Attempts(device.id, device.rule, window, is_tapped=self.is_tapped)
        join = DeviceJoin(attempts, device.identity, self.tally)
        self._joins.append(join)
        self._by_id[device.id] = join
        self._by_identity[device.vehicle, device.identity] = join
        return join

    def _find(self, upstream: Upstream) -> DeviceJoin | None:
        exact = self._by_identity.get((upstream.vehicle, upstream.device))
        return exact or self._by_identity.get((None, upstream.device))

    def _published(self, upstream: Upstream) -> None:
        join = self._find(upstream)
        if join is None:
            self.tally.add("foreign")
            return
        self.heard.upstream += 1
        self.collector.upstream(upstream.at_s)

    def _settle(self, settled: Settled) -> None:
        upstream = settled.upstream
        join = self._find(upstream)
        if join is None:
            return
        writer = self._by_id.get(upstream.device_id or "", join)
        if not isinstance(settled, Applied):
            self.tally.add("unacknowledged")
            writer.unconfirmed(upstream)
            return
        if writer.identity != upstream.device:
            name, other = writer.attempts.device, join.attempts.device
            explanation = f"arrived as a status of {other}"
            self.tally.blame("wrong_device", name, upstream.number, explanation)
            writer.applied(settled, is_misdelivered=True)
            return
        # Several devices may share an identity by priority; each has numbers of its own.
        join = writer
        self._measure(join, settled)
        join.applied(settled)

    def _measure(self, join: DeviceJoin, applied: Applied) -> None:
        if applied.acknowledged_s is not None:
            waited_s = applied.acknowledged_s - applied.upstream.at_s
            self.latencies["acknowledgement"].record(waited_s)
        age_s = join.age_of_news_s(applied.upstream)
        if age_s is not None:
            self.latencies["upstream"].record(age_s)


class FleetLedger:
    """The Recorder of one fleet; `device` is the index in the order of `enlist`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._joins: list[DeviceJoin] = []
        self._connected = bytearray()
        self._reply = ledger.latencies["reply"]
        self._lag = ledger.latencies["lag"]

    def __len__(self) -> int:
        return len(self._joins)

    def add(self, join: DeviceJoin) -> None:
        """One more device at the end."""
        self._joins.append(join)
        self._connected.append(0)

    def next_number(self, device: int) -> int:
        """Where the numbers of a device go on that another worker takes over."""
        return self._joins[device].attempts.highest + 1

    def merge(self, batch: bytes) -> None:
        """Take in what a worker's BatchRecorder collected.

        Raises:
            ValueError: it is no batch.
        """
        self._ledger.heard.forgotten += replay(batch, self)

    def sent(self, device: int, number: int, scheduled_s: float, sent_s: float) -> None:
        """As in Recorder."""
        ledger = self._ledger
        if not self._is_known(device) or not self._joins[device].sent(number, sent_s):
            ledger.heard.unusable += 1
            return
        ledger.heard.sent += 1
        self._lag.record(sent_s - scheduled_s)
        ledger.collector.sent(sent_s)

    def answered(self, device: int, number: int, answered_s: float, is_own: bool) -> None:  # noqa: FBT001  # as in Recorder
        """As in Recorder."""
        ledger = self._ledger
        if not self._is_known(device):
            ledger.heard.unusable += 1
            return
        join = self._joins[device]
        if not is_own:
            name = join.attempts.device
            ledger.tally.blame("wrong_device", name, number, "got the reply of another device")
            return
        latency_s = answered_s - join.attempts.sent_s(number)
        if not join.answered(number):
            ledger.heard.unusable += 1
            return
        ledger.heard.answered += 1
        self._reply.record(latency_s)
        ledger.collector.answered(answered_s, latency_s)
        if latency_s > LATE_S:
            explanation = f"answered after {latency_s * 1000:.0f} ms"
            ledger.tally.blame("late", join.attempts.device, number, explanation)

    def closed(self, device: int, reason: str, at_s: float) -> None:
        """As in Recorder."""
        heard = self._ledger.heard
        _count(heard.closed, reason)
        if self._is_known(device) and self._connected[device]:
            self._connected[device] = 0
            heard.connected -= 1
            self._ledger.collector.connected(at_s, -1)

    def refused(self, device: int, response: int) -> None:
        """As in Recorder."""
        del device
        self._ledger.heard.refused[response] += 1

    def connected(self, device: int, at_s: float) -> None:
        """As in Recorder."""
        heard = self._ledger.heard
        heard.connects += 1
        if self._is_known(device) and not self._connected[device]:
            self._connected[device] = 1
            heard.connected += 1
            self._ledger.collector.connected(at_s, 1)

    def _is_known(self, device: int) -> bool:
        return 0 <= device < len(self._joins)


def _count(reasons: Counter[str], reason: str) -> None:
    known = reason in reasons or len(reasons) < MAX_REASONS
    reasons[reason if known else "other"] += 1
