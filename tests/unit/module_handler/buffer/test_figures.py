"""What `buffer stat` says, and that it says so when it does not know."""

from __future__ import annotations

import pytest

from module_gateway.module_handler.buffer.figures import (
    BufferBounds,
    DeviceFigures,
    by_device,
    by_module,
    fullness,
    growth,
    size_words,
    sums,
    words_of,
)
from module_gateway.protocol.identity import Identity

NOW = 1_800_000_000_000
BOUNDS = BufferBounds(device_entries=1_000, device_bytes=10**6, total_bytes=10**7, age_s=864_000)


def device(
    role: str = "a",
    entries: int = 0,
    size_bytes: int = 0,
    oldest_s: float = 0,
    recent: tuple[int, int] = (0, 0),
    module: int = 1000,
) -> DeviceFigures:
    oldest = NOW - round(oldest_s * 1000)
    return DeviceFigures(Identity(module, 0, role), entries, size_bytes, oldest, NOW, *recent)


def test_hours_left_are_those_of_the_bound_that_comes_first() -> None:
    small = device(entries=700, size_bytes=10_000, oldest_s=1000, recent=(300, 3_000))
    grown = growth([small], BOUNDS, NOW)
    assert (1.0, 10.0) == (grown.entries_per_s, grown.bytes_per_s)
    assert pytest.approx(300 / 3600) == grown.hours_left  # 300 entries are left, one per second
    large = device("b", entries=10, size_bytes=9_000_000, oldest_s=1000, recent=(10, 300_000))
    assert (
        pytest.approx((10**7 - 9_010_000) / 1010 / 3600)
        == growth([small, large], BufferBounds(10**6, 10**9, 10**7, 864_000), NOW).hours_left
    )


def test_the_rate_of_a_young_outage_is_that_since_it_began() -> None:
    grown = growth(
        [device(entries=100, size_bytes=100, oldest_s=50, recent=(100, 100))], BOUNDS, NOW
    )
    assert 2.0 == grown.entries_per_s
    assert "the last 50 s" in grown.why


def test_a_bound_that_is_passed_has_no_hours_left() -> None:
    over = device(entries=2_000, size_bytes=10, oldest_s=100, recent=(10, 10))
    assert 0.0 == growth([over], BOUNDS, NOW).hours_left


@pytest.mark.parametrize(
    ("devices", "why"),
    [
        ([], "nothing waits"),
        ([device(entries=9, oldest_s=4_000)], "nothing came for 5 min"),
        ([device(entries=9, oldest_s=2, recent=(9, 9))], "nothing waits for longer than 30 s"),
    ],
)
def test_what_does_not_grow_is_said_not_to(devices: list[DeviceFigures], why: str) -> None:
    grown = growth(devices, BOUNDS, NOW)
    assert (0.0, None) == (grown.bytes_per_s, grown.hours_left)
    assert f"not growing: {why}" == grown.why


def test_how_full_it_is_in_all_and_at_the_fullest_device() -> None:
    devices = [device(entries=500, size_bytes=10), device("b", entries=1, size_bytes=900_000)]
    found = fullness(devices, BOUNDS)
    assert ("1000/0/b", 0.9, 0.09) == (
        found["fullest_device"],
        found["device_full"],
        found["total_full"],
    )
    assert (None, 0.0) == (
        fullness([], BOUNDS)["fullest_device"],
        fullness([], BOUNDS)["device_full"],
    )


def test_a_module_that_is_not_configured_any_more_is_named() -> None:
    devices = [device(entries=2, size_bytes=5, oldest_s=3), device("c", entries=1, module=77)]
    first, second = by_module(devices, {1000: "example"}, NOW)
    assert (77, None, False, 1) == tuple(
        first[key] for key in ("module", "name", "is_configured", "entries")
    )
    assert (1000, "example", True, 3.0) == tuple(
        second[key] for key in ("module", "name", "is_configured", "oldest_age_s")
    )


def test_devices_come_with_the_largest_first() -> None:
    devices = [device("a", 1, 10), device("b", 1, 20), device("c", 1, 10)]
    assert ["1000/0/b", "1000/0/a", "1000/0/c"] == [
        each["device"] for each in by_device(devices, NOW)
    ]


def test_nothing_has_no_age() -> None:
    assert {"entries": 0, "bytes": 0, "oldest_time": None, "oldest_age_s": None} == sums([], NOW)


@pytest.mark.parametrize(
    ("span_s", "words"),
    [(-5, "0 s"), (0.4, "0 s"), (59.6, "1 min"), (90, "1 min 30 s"), (3_600, "1 h"),
     (93_784, "1 d 2 h"), (86_401, "1 d")],
)  # fmt: skip
def test_times_are_said_in_two_units(span_s: float, words: str) -> None:
    assert words == words_of(span_s)


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1536, "1.5 KiB"),
        (5 * 2**20, "5.0 MiB"),
        (2**41, "2,048.0 GiB"),
    ],
)
def test_sizes_are_said_in_their_unit(size_bytes: int, words: str) -> None:
    assert words == size_words(size_bytes)


def test_the_age_is_a_bound_too() -> None:
    slow = device(entries=2, size_bytes=2, oldest_s=863_000, recent=(1, 1))
    assert pytest.approx(1_000 / 3600) == growth([slow], BOUNDS, NOW).hours_left
