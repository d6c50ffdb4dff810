"""The control plane's book of what is applied, against a set of numbers that knows everything.

A gateway writes entries of one device, with holes between their numbers, and sends them through
sessions that break anywhere: with lanes or without, with or without having trimmed what the
control plane listed, folding or replaying what is left.
"""

from __future__ import annotations

from hypothesis import event, given
from hypothesis import strategies as st

from module_gateway.control_plane.events import StatusApplied
from module_gateway.control_plane.lanes import Lanes
from module_gateway.control_plane.positions import AppliedPositions
from module_gateway.protocol.external import (
    APPLIED_CAPABILITY,
    REPLAY_CAPABILITY,
    ConnectResponse,
    Status,
)
from tests.control_plane_script import BUTTON, connect, status

STORE = 9
PLAIN, ORDERED, SPLIT, FOLDING = range(4)


class Gateway:
    """One device's log, and what its control plane has really applied of it."""

    def __init__(self) -> None:
        self.positions = AppliedPositions()
        self.log: list[int] = []
        self.applied: dict[int, int] = {}
        """How often each entry was applied."""
        self.trimmed: set[int] = set()

    def write(self, steps: list[int]) -> None:
        for step in steps:
            self.log.append((self.log[-1] if self.log else 0) + step)

    @property
    def open_entries(self) -> list[int]:
        return [entry for entry in self.log if entry not in self.trimmed]

    def trim(self, answer: ConnectResponse) -> None:
        """Every listed entry must be applied; those are deleted."""
        listed: set[int] = set()
        for _, position in answer.applied:
            listed |= {entry for entry in self.log if entry <= position.sequence}
        for _, stretch in answer.applied_live:
            between = range(stretch.first_sequence, stretch.sequence + 1)
            listed |= {entry for entry in self.log if entry in between}
        assert listed == {entry for entry in self.log if self.applied.get(entry)}
        self.trimmed |= listed

    def deliver(self, lanes: Lanes, one: Status, stands_for: list[int]) -> None:
        """It is applied if and only if that is news."""
        is_new = isinstance(lanes.record(one, is_connected=True), StatusApplied)
        assert is_new == any(not self.applied.get(entry) for entry in stands_for)
        if is_new:
            for entry in stands_for:
                self.applied[entry] = self.applied.get(entry, 0) + 1


kinds = st.sampled_from([PLAIN, ORDERED, SPLIT, SPLIT, FOLDING])
steps = st.lists(st.integers(1, 4), max_size=6)


def run_session(gateway: Gateway, kind: int, data: st.DataObject) -> None:
    capabilities = () if kind == PLAIN else (APPLIED_CAPABILITY, REPLAY_CAPABILITY)
    lanes = Lanes(connect(capabilities=capabilities), [BUTTON.identity], gateway.positions)
    if kind == FOLDING or (kind != PLAIN and data.draw(st.booleans(), "trims")):
        gateway.trim(lanes.answer)
    stored = gateway.open_entries
    if kind == FOLDING and stored:
        fold = status(1, sequence=stored[-1], error=b"sum")
        gateway.deliver(lanes, fold, stored)
        stored = []
    cut = gateway.log[-1] if gateway.log else 0
    gateway.write(data.draw(steps, "written"))
    fresh = [entry for entry in gateway.log if entry > cut]
    if kind != SPLIT:
        stored, fresh = stored + fresh, []
    for _ in range(data.draw(st.integers(0, len(stored) + len(fresh)), "delivered")):
        is_live = bool(fresh) and (not stored or data.draw(st.booleans(), "live next"))
        entry = (fresh if is_live else stored).pop(0)
        is_replayed = not is_live and entry <= cut
        one = status(1, sequence=entry, is_live=is_live, is_replayed=is_replayed)
        gateway.deliver(lanes, one, [entry])


@given(st.data())
def test_R18_every_entry_is_applied_exactly_once_and_none_is_refused_before(data):
    gateway = Gateway()
    for _ in range(data.draw(st.integers(1, 8), "sessions")):
        gateway.write(data.draw(steps, "outage"))
        run_session(gateway, data.draw(kinds, "kind"), data)
    event(f"stretches: {len(gateway.positions.live_of_all([BUTTON.identity]))}")
    lanes = Lanes(connect(), [BUTTON.identity], gateway.positions)
    gateway.write([1])
    for entry in gateway.open_entries:
        gateway.deliver(lanes, status(1, sequence=entry, is_replayed=True), [entry])
    assert gateway.applied == dict.fromkeys(gateway.log, 1)
    assert gateway.positions.live_of_all([BUTTON.identity]) == ()
