"""What is folded when a log, its age or all logs together pass a bound (contract R8, R9)."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from module_gateway.module_handler.aggregator import Publication
from module_gateway.module_handler.compaction import (
    AGE_CHECK_S,
    FOLD_ENTRIES,
    NO_BOUND,
    Claim,
    Compactor,
    Folding,
    OutboxLimits,
)
from module_gateway.module_handler.outbox import ENTRY_OVERHEAD_BYTES, Bounds, Entry, Outbox
from module_gateway.module_handler.store import (
    EntriesFolded,
    EntriesTrimmed,
    EntryAppended,
    LogQuery,
    MemoryStore,
    Page,
)
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device, Identity
from tests.unit.module_handler.rig import MODULE, at_once, device
from tests.unit.module_handler.scripted_module import ScriptedModule

A, B = device("a"), device("b")
LARGE = 1 << 30


@dataclass
class Desk:
    """A compactor, the outbox and the store that it works on."""

    entries: int = 16
    size_bytes: int = LARGE
    total_bytes: int = NO_BOUND
    age_s: float = NO_BOUND
    now: float = 0.0
    unix_ms: int = 10**12
    module: ScriptedModule = field(default_factory=ScriptedModule)
    claim: Claim = field(default_factory=Claim)

    def __post_init__(self) -> None:
        bounds = Bounds(self.entries, self.size_bytes)
        self.outbox = Outbox(bounds)
        self.store = MemoryStore()
        self.compactor = Compactor(
            OutboxLimits(bounds, self.total_bytes, self.age_s),
            self.outbox,
            {MODULE: self.module},
            lambda _: self.claim,
            self.now,
        )

    def put(self, who: Device, *statuses: bytes, **flags: bool) -> list[Entry]:
        entries = []
        for status in statuses:
            entry = self.outbox.append(who, Publication(status, **flags), self.unix_ms)
            at_once(self.store.commit([EntryAppended(entry)]))
            self.compactor.appended(who.identity)
            entries.append(entry)
        return entries

    def trim(self, who: Device, sequence: int, first_sequence: int = 0) -> None:
        if self.outbox.trim(who.identity, sequence, first_sequence):
            at_once(self.store.commit([EntriesTrimmed(who.identity, sequence, first_sequence)]))
            self.compactor.trimmed(who.identity)

    def read(self) -> Page | None:
        query = self.compactor.next_read()
        return None if query is None else at_once(self.store.read(query))

    def give(self, page: Page | None) -> Folding | None:
        assert page is not None
        folding = self.compactor.page_read(page)
        if folding is not None:
            at_once(self.store.commit([EntriesFolded(folding.fold)]))
        return folding

    def work(self) -> list[Folding]:
        """Everything that is wanted."""
        foldings = []
        while (page := self.read()) is not None:
            folding = self.give(page)
            if folding is not None:
                foldings.append(folding)
        return foldings

    def log(self, who: Device) -> list[Entry]:
        return list(at_once(self.store.read(LogQuery(who.identity, 2**31))).entries)

    def counted(self, who: Device) -> int:
        log = self.outbox.log(who.identity)
        return 0 if log is None else log.entries

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.unix_ms += int(seconds * 1000)
        self.compactor.expire(self.now, self.unix_ms)


def numbered(count: int, first: int = 1) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


def content(entries: list[Entry]) -> bytes:
    """What an error aggregate of all of them would be."""
    return b"".join(
        each.error if each.error is not None else b"" if each.is_repeat else b"[%s]" % each.status
        for each in entries
    )


def test_M12_the_oldest_entries_of_a_log_at_its_bound_become_one() -> None:
    desk = Desk(entries=8)
    desk.put(A, *numbered(9))
    (folding,) = desk.work()
    fold = folding.fold
    assert (3, b"[1][2][3]", b"3", 1, 3) == (
        len(folding.taken),
        fold.error,
        fold.status,
        fold.first_sequence,
        fold.sequence,
    )
    assert (7, fold) == (len(desk.log(A)), desk.log(A)[0])
    assert 7 == desk.counted(A)


def test_a_log_within_its_bound_is_left_alone() -> None:
    desk = Desk(entries=8)
    desk.put(A, *numbered(8))
    assert desk.compactor.next_read() is None


def test_a_log_is_bounded_in_bytes() -> None:
    desk = Desk(entries=1_000, size_bytes=4 * (ENTRY_OVERHEAD_BYTES + 100))
    for _ in range(20):
        desk.put(A, b"x" * 100)
        desk.work()
    assert len(desk.log(A)) <= 4


def test_R8_a_fold_continues_an_earlier_fold() -> None:
    desk = Desk(entries=4)
    for status in numbered(7):
        desk.put(A, status)
        desk.work()
    (first, *rest) = desk.log(A)
    assert (b"[1][2][3][4][5]", 1) == (first.error, first.first_sequence)
    assert [b"6", b"7"] == [entry.status for entry in rest]


def test_R8_what_a_live_session_may_have_shown_is_not_folded_before_twice_the_bound() -> None:
    desk = Desk(entries=8, claim=Claim(safe_to=17))
    desk.put(A, *numbered(16))
    assert desk.compactor.next_read() is None
    desk.put(A, b"17")
    desk.work()
    assert 14 == len(desk.log(A))


def test_R8_what_was_shown_while_its_page_was_read_is_not_folded() -> None:
    desk = Desk(entries=8)
    desk.put(A, *numbered(9))
    page = desk.read()
    desk.claim = Claim(safe_to=1)
    assert desk.give(page) is None
    assert 9 == len(desk.log(A))


def test_R9_a_repeat_is_not_folded_again() -> None:
    desk = Desk(entries=2)
    desk.put(A, b"1")
    desk.put(A, b"1", is_repeat=True, ends_registration=True)
    desk.put(A, b"2")
    (folding,) = desk.work()
    assert b"[1][2]" == folding.fold.error


def test_a_fold_keeps_the_end_of_the_registration_of_its_newest_entry() -> None:
    desk = Desk(entries=2)
    desk.put(A, b"1")
    desk.put(A, b"2", ends_registration=True)
    desk.put(A, b"2", is_repeat=True, ends_registration=True)
    (folding,) = desk.work()
    fold = folding.fold
    assert (b"[1][2]", True, False) == (fold.error, fold.ends_registration, fold.is_repeat)


def test_R18_a_fold_does_not_reach_across_the_cut() -> None:
    desk = Desk(entries=8, claim=Claim(safe_to=0, cut=2))
    desk.put(A, *numbered(12))
    foldings = desk.work()
    assert [1, 2] == [entry.sequence for entry in foldings[0].taken]
    assert all(folding.fold.sequence <= 2 for folding in foldings)
    assert 11 == len(desk.log(A))


def test_a_large_excess_is_folded_in_steps() -> None:
    desk = Desk(entries=10)
    desk.put(A, *[b"s"] * 1_600)
    foldings = desk.work()
    assert [FOLD_ENTRIES, FOLD_ENTRIES, FOLD_ENTRIES] == [len(f.taken) for f in foldings[:3]]
    assert 8 == len(desk.log(A)) == desk.counted(A)
    assert b"[s]" * 1_600 == content(desk.log(A))


def test_one_read_is_under_way_at_a_time_and_every_log_gets_its_turn() -> None:
    desk = Desk(entries=8)
    for who in (A, B):
        desk.put(who, *numbered(9))
    page = desk.read()
    assert desk.compactor.next_read() is None
    desk.give(page)
    assert [B.identity] == [folding.fold.device.identity for folding in desk.work()]


def test_a_page_that_nobody_asked_for_is_ignored() -> None:
    desk = Desk(entries=8)
    desk.put(A, *numbered(9))
    page = Page(LogQuery(A.identity, 5), tuple(desk.log(A)), is_complete=True)
    assert desk.give(page) is None
    assert desk.give(desk.read()) is not None
    assert desk.compactor.page_read(page) is None


def test_a_log_whose_trim_passed_the_page_is_left_alone() -> None:
    desk = Desk(entries=8)
    desk.put(A, *numbered(20))
    page = desk.read()
    desk.trim(A, 20)
    desk.put(A, *numbered(3, 21))
    assert desk.give(page) is None
    assert [b"21", b"22", b"23"] == [entry.status for entry in desk.log(A)]


def test_what_was_acknowledged_meanwhile_is_not_folded() -> None:
    desk = Desk(entries=8)
    desk.put(A, *numbered(20))
    page = desk.read()
    desk.trim(A, 2)
    folding = desk.give(page)
    assert folding is not None
    assert (3, b"[3]") == (folding.fold.first_sequence, (folding.fold.error or b"")[:3])


def test_a_log_of_one_entry_cannot_become_coarser() -> None:
    desk = Desk(entries=2, size_bytes=1)
    desk.put(A, b"x" * 10)
    assert [] == desk.work()
    assert 1 == len(desk.log(A))


def test_a_module_that_refuses_to_fold_loses_that_status_only() -> None:
    desk = Desk(entries=2)
    desk.module.fails.add("aggregate_error")
    desk.put(A, b"1", b"2", b"3")
    (folding,) = desk.work()
    assert folding.failure is not None
    assert (b"", b"3", 3) == (folding.fold.error, folding.fold.status, folding.fold.sequence)


def test_a_module_that_hangs_while_folding_is_not_asked_for_the_rest() -> None:
    desk = Desk(entries=8)
    desk.put(A, *numbered(20))
    desk.module.hangs.add("aggregate_error")
    (folding,) = desk.work()
    assert folding.failure is not None
    assert (2, Reason.MODULE_HUNG) == (len(folding.taken), folding.failure.reason)
    assert 1 == len(desk.module.calls("aggregate_error"))


def test_entries_of_a_module_that_is_gone_are_kept_as_they_are() -> None:
    desk = Desk(entries=2, age_s=10.0)
    gone = Device(Identity(MODULE + 1, 0, "x"), "", 0)
    desk.put(gone, *numbered(9))
    desk.pass_time(1_000.0)
    assert [] == desk.work()
    assert 9 == len(desk.log(gone))


def test_what_is_too_old_by_the_wall_clock_is_folded() -> None:
    desk = Desk(entries=32, age_s=3_600.0)
    desk.put(A, *numbered(5))
    desk.pass_time(3_000.0)
    desk.put(A, *numbered(5, 6))
    desk.put(B, b"alone")
    assert [] == desk.work()
    desk.pass_time(700.0)
    desk.work()
    fold, *rest = desk.log(A)
    assert (b"[1][2][3][4][5]", 5) == (fold.error, len(rest))
    desk.pass_time(AGE_CHECK_S)
    assert [] == desk.work()


def test_R8_a_live_sessions_entries_may_be_twice_as_old() -> None:
    desk = Desk(entries=100, age_s=3_600.0)
    desk.put(A, *numbered(5))
    desk.claim = Claim(safe_to=5)
    desk.pass_time(3_700.0)
    assert [] == desk.work()
    desk.pass_time(3_700.0)
    assert 1 == len(desk.work())


def test_ages_are_looked_at_once_a_minute_and_only_while_something_is_there() -> None:
    desk = Desk()
    assert desk.compactor.next_due() is None
    desk.put(A, b"1")
    assert AGE_CHECK_S == desk.compactor.next_due()
    desk.pass_time(AGE_CHECK_S)
    assert 2 * AGE_CHECK_S == desk.compactor.next_due()


def test_a_short_age_is_looked_at_more_often() -> None:
    desk = Desk(age_s=10.0)
    desk.put(A, b"1")
    assert 5.0 == desk.compactor.next_due()


def test_all_logs_together_are_bounded_and_the_largest_gives() -> None:
    desk = Desk(entries=10_000, total_bytes=100 * 300)
    desk.put(A, *[b"a" * 44] * 40)
    desk.put(B, *[b"b" * 44] * 59)
    assert [] == desk.work()
    desk.put(A, *[b"a" * 44] * 3)
    foldings = desk.work()
    assert {B.identity} == {folding.fold.device.identity for folding in foldings}
    assert desk.outbox.size_bytes <= 100 * 300
    assert b"[%s]" % (b"b" * 44) * 59 == content(desk.log(B))


def test_R8_what_is_shown_gives_only_beyond_twice_the_bound_of_all_logs() -> None:
    desk = Desk(entries=10_000, total_bytes=100 * 300, claim=Claim(safe_to=1_000))
    desk.put(A, *[b"a" * 44] * 150)
    assert [] == desk.work()
    desk.pass_time(AGE_CHECK_S)
    desk.put(A, *[b"a" * 44] * 60)
    assert 0 < len(desk.work())


def test_nothing_that_can_give_is_looked_for_once_a_minute_only() -> None:
    desk = Desk(entries=10_000, total_bytes=1_000)
    desk.put(A, b"x" * 2_000)
    assert [] == desk.work()
    desk.put(A, b"y" * 2_000)
    assert [] == desk.work()
    desk.pass_time(AGE_CHECK_S)
    assert 1 == len(desk.work())


def test_a_log_of_which_only_the_store_knows_that_nothing_is_left_is_forgotten() -> None:
    desk = Desk(entries=10_000)
    desk.put(A, *numbered(6))
    desk.trim(A, 6, first_sequence=3)
    desk.trim(A, 2)
    assert 0 < desk.counted(A)
    assert [] == desk.work()
    assert 0 == desk.counted(A) == len(desk.log(A))


@given(
    st.lists(st.tuples(st.sampled_from(["put", "trim", "read", "give"]), st.integers(0, 12))),
    st.integers(2, 9),
)
def test_nothing_is_forgotten_and_nothing_is_counted_twice(
    steps: list[tuple[str, int]], entries: int
) -> None:
    """Fold plus rest is always the suffix of everything, whatever is acknowledged when."""
    desk = Desk(entries=entries)
    everything: list[bytes] = []
    acknowledged = 0
    page: Page | None = None
    for what, number in steps:
        match what:
            case "put":
                everything.append(b"%d" % len(everything))
                desk.put(A, everything[-1])
            case "trim":
                log = desk.log(A)
                if log:
                    acknowledged = log[min(number, len(log) - 1)].sequence
                    desk.trim(A, acknowledged)
            case "read":
                page = desk.read() or page
            case _:
                if page is not None:
                    desk.give(page)
        assert b"".join(b"[%s]" % each for each in everything[acknowledged:]) == content(
            desk.log(A)
        )
        assert len(desk.log(A)) <= desk.counted(A)
    if page is not None:
        desk.give(page)
    desk.work()
    assert len(desk.log(A)) <= entries
