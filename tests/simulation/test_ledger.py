"""What the judge lets pass: a fold of the handler that repeats what was sent, and nothing else."""

from __future__ import annotations

import pytest

from module_gateway.control_plane.events import StatusApplied
from module_gateway.module_handler.outbox import Entry
from module_gateway.protocol.external import Position
from module_gateway.protocol.identity import Device, Identity
from tests.simulation.ledger import BrokenPromiseError, Ledger
from tests.simulation.schedule import Schedule

DEVICE = Device(Identity(7, 0, "a"))
STORE = 11
LIVE, REPLAYED = 3, 0
FOLD = b"[a1.1.2#1][a1.1.3#1]"


def told(status: bytes, sequence: int, *, live_from: int, error: bytes | None) -> StatusApplied:
    position = Position(STORE, sequence)
    return StatusApplied("s", DEVICE, 0, status, error, position, 0, not live_from, True, live_from)


def ledger(*, is_bound_small: bool = True, is_folded: bool = True) -> Ledger:
    """Entries 2 and 3, of which 3 was told live."""
    ledger = Ledger(Schedule(0))
    ledger.tolerates_repeats, ledger.is_replaying = is_bound_small, True
    for sequence in (2, 3):
        status = b"a1.1.%d" % sequence
        ledger.status_sent(status)
        ledger.entry_stored(Entry(sequence, DEVICE, status))
    if is_folded:
        ledger.fold_stored(Entry(3, DEVICE, b"a1.1.3", error=FOLD, first_sequence=2))
    ledger.status_stored(told(b"a1.1.3", 3, live_from=LIVE, error=None))
    return ledger


def test_fold_that_ends_with_a_live_status_repeats_it_once() -> None:
    judge = ledger()
    judge.status_stored(told(b"a1.1.3", 3, live_from=REPLAYED, error=FOLD))
    assert 1 == judge.counts["upstream repeats"]
    with pytest.raises(BrokenPromiseError, match="duplicated upstream"):
        judge.status_stored(told(b"a1.1.3", 3, live_from=REPLAYED, error=FOLD))


@pytest.mark.parametrize("what", [{"is_bound_small": False}, {"is_folded": False}])
def test_no_other_fold_repeats(what: dict[str, bool]) -> None:
    with pytest.raises(BrokenPromiseError, match="duplicated upstream"):
        ledger(**what).status_stored(told(b"a1.1.3", 3, live_from=REPLAYED, error=FOLD))


@pytest.mark.parametrize("live_from", [LIVE, REPLAYED])
def test_a_single_status_is_never_repeated(live_from: int) -> None:
    with pytest.raises(BrokenPromiseError, match="duplicated upstream"):
        ledger().status_stored(told(b"a1.1.3", 3, live_from=live_from, error=None))
