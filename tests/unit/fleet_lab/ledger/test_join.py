"""One device's attempts joined with what was applied of them."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_lab.ledger import join as join_module
from fleet_lab.ledger.attempts import Attempts
from fleet_lab.ledger.events import Upstream
from fleet_lab.ledger.join import MARKER_QUIET_S, PATIENCE_S, DeviceJoin
from fleet_lab.ledger.rules import MergeRule
from fleet_lab.ledger.sessions import Applied
from fleet_lab.ledger.tally import Tally
from module_gateway.protocol.external import DeviceState, Position
from module_gateway.protocol.identity import Identity

CONNECTING, RUNNING, DISCONNECT = (
    DeviceState.CONNECTING, DeviceState.RUNNING, DeviceState.DISCONNECT,
)  # fmt: skip


class Device:
    """A join with a shorthand for its history."""

    def __init__(self, rule: MergeRule = MergeRule.EACH, module: int = 1001) -> None:
        self.tally = Tally()
        self.attempts = Attempts("d", rule, 1000, is_tapped=True)
        self.join = DeviceJoin(self.attempts, Identity(module, 0, "d"), self.tally)

    def done(self, *numbers: int) -> Device:
        for number in numbers:
            self.join.sent(number, float(number))
            self.join.answered(number)
        return self

    def seen(self, number: int | None, state: int = RUNNING, **more: Any) -> Device:
        at_s = more.pop("at_s", 10.0 if number is None else number + 0.1)
        session, is_exact = more.pop("session", "s"), more.pop("is_exact", True)
        upstream = Upstream("v", session, 0, self.join.identity, number, state, at_s, **more)
        self.join.applied(Applied(upstream, at_s, is_exact))
        return self

    def published(self, number: int) -> Device:
        upstream = Upstream("v", "s", 0, self.join.identity, number, RUNNING, 0.0)
        self.join.unconfirmed(upstream)
        return self

    def fold(self, number: int, total: int, **more: Any) -> Device:
        error = f'{{"total_statuses": {total}}}'.encode()
        return self.seen(number, CONNECTING, error=error, session="s2", **more)

    def words(self) -> dict[str, int]:
        self.join.flush()
        tally = self.tally.copy()
        self.join.tally_rest(tally)
        again = self.tally.copy()
        self.join.tally_rest(again)
        assert again.counts == tally.counts, "judging must change nothing"
        return {word: count for word, count in tally.counts.items() if count}


def test_each_in_its_order_is_seen():
    assert Device().done(1, 2).seen(1, CONNECTING).seen(2).words() == {"seen": 2}


def test_a_gap_stays_lost_even_when_later_ones_arrive():
    assert Device().done(1, 2, 3).seen(1).seen(3).words() == {"seen": 2, "lost": 1}


def test_news_behind_a_higher_number_are_reordered():
    assert Device().done(1, 2).seen(2).seen(1).words() == {"seen": 2, "reordered": 1}


@pytest.mark.parametrize("state", [CONNECTING, DISCONNECT])
def test_the_last_status_again_at_the_start_or_end_of_a_registration_is_a_marker(state):
    assert Device().done(1).seen(1).seen(1, state, at_s=1.2).words() == {"seen": 1}


def test_a_heartbeat_is_the_last_status_again_after_silence():
    quiet, soon = 1.11 + MARKER_QUIET_S, 1.1 + MARKER_QUIET_S / 2
    assert Device().done(1).seen(1).seen(1, at_s=quiet).words() == {"seen": 1}
    assert Device().done(1).seen(1).seen(1, at_s=soon).words() == {"seen": 1, "duplicated": 1}


def test_where_positions_exist_a_heartbeat_is_what_has_none():
    first, second = Position(1, 1), Position(1, 2)
    known = Device().done(1).seen(1, position=first)
    assert known.seen(1, at_s=1.2).words() == {"seen": 1}
    known = Device().done(1).seen(1, position=first)
    assert known.seen(1, position=second, at_s=99.0).words() == {"seen": 1, "duplicated": 1}


def test_an_older_one_again_is_duplicated_in_its_session_and_repeated_in_a_later_one():
    both = Device().done(1, 2).seen(1).seen(2)
    assert both.seen(1).words() == {"seen": 2, "duplicated": 1}
    later = Device().done(1, 2).seen(1).seen(2)
    assert later.seen(1, CONNECTING, session="s2").words() == {"seen": 2, "upstream_repeat": 1}


def test_a_fold_accounts_for_everything_up_to_its_status():
    assert Device().done(1, 2, 3, 4).seen(1).fold(4, 3).words() == {"seen": 2, "folded": 2}


def test_a_fold_does_not_account_for_what_was_lost_before():
    words = Device().done(1, 2, 3, 4).seen(2).fold(4, 2).words()
    assert words == {"seen": 2, "folded": 1, "lost": 1}


@pytest.mark.parametrize(("total", "is_wrong"), [(2, True), (3, False), (4, False), (5, True)])
def test_what_is_in_doubt_may_be_in_the_fold_or_not(total, is_wrong):
    device = Device().done(1, 2, 3)
    device.join.sent(4, 4.0)
    device.done(5).seen(2)
    words = device.fold(5, total - 1).words()
    assert words.get("miscounted", 0) == is_wrong


def test_a_fold_may_hold_what_the_last_session_left_unacknowledged():
    device = Device().done(1, 2, 3, 4).seen(1).published(2).seen(3)
    assert device.fold(4, 2).words() == {"seen": 3, "folded": 1}


def test_what_has_no_room_in_the_fold_is_lost():
    device = Device().done(1, 2, 3, 4).seen(1).published(2).seen(3)
    words = device.fold(4, 1).words()
    assert words == {"seen": 3, "lost": 1, "lost_upstream": 1}


def test_a_fold_on_the_last_seen_status_covers_only_what_was_left():
    device = Device().done(1, 2, 3).seen(1).published(2).seen(3)
    assert device.fold(3, 1).words() == {"seen": 2, "folded": 1}


def test_too_high_a_count_is_a_repeat_only_where_the_peer_cannot_tell():
    words = Device().done(1, 2, 3).seen(1).fold(3, 3, is_exact=False).words()
    assert words == {"seen": 2, "folded": 1, "upstream_repeat": 1}
    words = Device().done(1, 2, 3).seen(1).fold(3, 3).words()
    assert words == {"seen": 2, "folded": 1, "miscounted": 1}


def test_modules_that_do_not_count_are_not_miscounted():
    assert Device(module=3).done(1, 2).fold(2, 99).words() == {"seen": 1, "folded": 1}


def test_connecting_without_an_aggregate_accounts_for_itself_alone():
    words = Device().done(1, 2).seen(2, CONNECTING).words()
    assert words == {"seen": 1, "lost": 1}


def test_the_latest_supersedes_and_what_comes_after_it_is_lost():
    device = Device(MergeRule.LATEST, module=1).done(1, 2, 3, 4).seen(3)
    assert device.words() == {"seen": 1, "superseded": 2, "lost": 1}


def test_replay_has_its_own_order_beside_the_live_statuses():
    device = Device(module=3).done(1, 2, 3).seen(3, CONNECTING)
    device.seen(1, is_replayed=True).seen(2, is_replayed=True)
    assert device.words() == {"seen": 3}
    device = Device(module=3).done(1, 2, 3).seen(3).seen(2, is_replayed=True)
    assert device.seen(1, is_replayed=True).words() == {"seen": 3, "reordered": 1}
    device = Device(module=3).done(1).seen(1)
    assert device.seen(1, is_replayed=True).words() == {"seen": 1, "duplicated": 1}


def test_a_status_without_a_number_is_nobodys():
    assert Device().done(1).seen(1).seen(None).words() == {"seen": 1, "phantom": 1}


@pytest.mark.parametrize("number", [0, -1, 2, 2**63])
def test_a_number_that_was_not_sent_is_a_phantom(number):
    device = Device().done(1, 3).seen(1)
    assert device.seen(number, at_s=3.1).seen(3).words() == {"seen": 2, "phantom": 1}


def test_a_send_may_be_told_later_than_its_arrival():
    device = Device().seen(1).seen(2)
    assert device.done(1, 2).words() == {"seen": 2}


def test_patience_with_unknown_numbers_ends():
    device = Device().done(1).seen(9, at_s=1.0).seen(1, at_s=1.1)
    assert not device.tally.counts["phantom"]
    device.done(2).seen(2, at_s=1.2 + PATIENCE_S)
    assert device.tally.counts["phantom"] == 1
    assert device.words() == {"seen": 2, "phantom": 1}


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(join_module, "MAX_WAITING", 3)
    device = Device()
    for number in range(1, 6):
        device.seen(number)
    assert device.tally.counts["phantom"] == 3


def test_in_order_only_how_many_matters():
    device = Device(MergeRule.ORDERED, module=1000).done(1, 2, 3)
    device.seen(None, CONNECTING, at_s=1.1).seen(None, at_s=2.5).seen(None, DISCONNECT, at_s=9.0)
    assert device.words() == {"seen": 2, "superseded": 1}


def test_in_order_heartbeats_after_silence_are_nobodys_duplicates():
    device = Device(MergeRule.ORDERED, module=1000).done(1)
    for at_s in (1.1, 16.1, 31.1):
        device.seen(None, at_s=at_s)
    assert device.words() == {"seen": 1}


def test_in_order_markers_are_told_by_their_missing_position():
    device = Device(MergeRule.ORDERED, module=1000).done(1, 2)
    device.seen(None, position=Position(1, 1), at_s=1.1).seen(None, at_s=1.2)
    device.seen(None, position=Position(1, 2), at_s=2.1).seen(None, at_s=2.2)
    assert device.words() == {"seen": 2}


def test_in_order_more_than_were_sent_are_duplicates_or_phantoms():
    twice = Device(MergeRule.ORDERED, module=1000).done(1)
    for at_s in (1.1, 1.2, 1.3):
        twice.seen(None, at_s=at_s)
    assert twice.words() == {"seen": 1, "duplicated": 2}
    assert Device(MergeRule.ORDERED, module=1000).seen(None).words() == {"phantom": 1}


def test_in_order_what_follows_the_last_sight_is_lost():
    device = Device(MergeRule.ORDERED, module=2).done(1, 2).seen(None, at_s=1.5)
    assert device.words() == {"seen": 1, "lost": 1}


def test_the_age_of_news_is_from_send_to_sight():
    device = Device().done(1)
    upstream = Upstream("v", "s", 0, device.join.identity, 1, RUNNING, 1.25)
    assert device.join.age_of_news_s(upstream) == 0.25
    device.seen(1)
    assert device.join.age_of_news_s(upstream) is None


def test_unusable_tales_are_refused():
    device = Device().done(1)
    assert not device.join.sent(1, 2.0)
    assert not device.join.answered(1)
    assert not device.join.answered(5)


@pytest.mark.parametrize("rule", list(MergeRule))
def test_forgetting_the_settled_changes_no_count(rule):
    device = Device(rule, module=1001)
    for number in range(1, 1001):
        device.done(number)
        device.seen(None if rule is MergeRule.ORDERED else number, at_s=number + 0.1)
    assert device.words() == {"seen": 1000}
    assert len(device.attempts) < 600
