from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_lab.errors import LabError
from fleet_lab.links.conditions import (
    CLEAR,
    LINKS,
    Conditions,
    Side,
    conditions_text,
    flaky,
    parse_conditions,
)


@pytest.mark.parametrize("name", LINKS)
def test_a_preset_is_its_name(name: str) -> None:
    assert parse_conditions(name) == LINKS[name]
    assert conditions_text(LINKS[name]) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("REGULAR_3G", LINKS["3G"]),
        ("CLEAR", CLEAR),
        ("NONE", CLEAR),
        (
            "delay=80ms jitter=20ms rate=2mbit",
            Conditions(delay_s=0.08, jitter_s=0.02, rate_bps=2e6),
        ),
        ("delay=80ms, rate=1.5mbit/s", Conditions(delay_s=0.08, rate_bps=1.5e6)),
        ("LTE jitter=0", replace(LINKS["LTE"], jitter_s=0.0)),
        ("cut", Conditions(is_cut=True)),
        ("LTE cut", replace(LINKS["LTE"], is_cut=True)),
        ("half-open", Conditions(is_half_open=True)),
        ("down.half-open", Conditions(down=Side(is_half_open=True))),
        ("stall=2s stall-every=10s", Conditions(stall_s=2.0, stall_every_s=10.0)),
        ("reset-every=1m queue=1s", Conditions(reset_every_s=60.0, queue_s=1.0)),
        (
            "up.rate=2mbit down.rate=10mbit",
            Conditions(up=Side(rate_bps=2e6), down=Side(rate_bps=10e6)),
        ),
        ("FLAKY(up_s=3, down_s=1)", flaky(3, 1)),
        ("FLAKY(up=500ms, down=1s) delay=1s", replace(flaky(0.5, 1), delay_s=1.0)),
    ],
)
def test_a_text_gives_its_conditions(text: str, expected: Conditions) -> None:
    assert parse_conditions(text) == expected


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({}, CLEAR),
        ({"preset": "LTE"}, LINKS["LTE"]),
        ({"preset": "LTE", "delay": "1s", "cut": True}, replace(LINKS["LTE"].cut(), delay_s=1.0)),
        ({"up": {"rate": "2mbit"}}, Conditions(up=Side(rate_bps=2e6))),
        ({"stall_every": "5s", "stall": "1s"}, Conditions(stall_every_s=5.0, stall_s=1.0)),
        ({"preset": "SATELLITE", "up": {"delay": 0}},
         replace(LINKS["SATELLITE"], up=Side(delay_s=0.0, rate_bps=3e6))),
    ],
)  # fmt: skip
def test_a_mapping_gives_its_conditions(mapping: Mapping[str, Any], expected: Conditions) -> None:
    assert parse_conditions(mapping) == expected


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("LTF", "unknown preset 'LTF'; did you mean 'LTE'?"),
        ("wifi", "did you mean 'WIFI'?"),
        ("XYZ", "known are GPRS"),
        ("", "write a preset"),
        ("LTE WIFI", "'WIFI' is no key=value"),
        ("dleay=3ms", "unknown key 'dleay'; did you mean 'delay'?"),
        ("up.reset-every=3s", "unknown key up.'reset-every'"),
        ("left.delay=3s", "a side is `up.` or `down.`"),
        ("delay=1s delay=2s", "delay is given twice"),
        ("delay=3", "write for example 250ms"),
        ("rate=fast", "write for example 50kbit"),
        ("rate=0bit", "rate must be above 0"),
        ("cut=perhaps", "cut is true or false"),
        ("loss=1%", "a byte stream has no loss"),
        ("stall=1s", "stall and stall-every belong together"),
        ("FLAKY(left=3)", "FLAKY has no 'left'"),
        ({"delay": 3}, "delay needs a unit"),
        ({"up": "LTE"}, "up must be a table"),
        ({"preset": 3}, "preset must be a text"),
        ({"cut": 1.5}, "cut is true or false"),
    ],
)
def test_what_is_wrong_is_one_line_with_exit_code_2(
    source: str | Mapping[str, Any], what: str
) -> None:
    with pytest.raises(LabError) as caught:
        parse_conditions(source)

    assert what in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


_seconds = st.floats(0.001, 1000, allow_nan=False)
_sides = st.builds(
    Side,
    delay_s=st.none() | _seconds,
    rate_bps=st.none() | st.floats(1, 1e10, allow_nan=False),
    is_cut=st.none() | st.booleans(),
)


@given(
    st.builds(
        Conditions,
        delay_s=_seconds,
        jitter_s=st.just(0.0) | _seconds,
        rate_bps=st.none() | st.floats(1, 1e10, allow_nan=False),
        queue_s=_seconds,
        reset_every_s=st.none() | _seconds,
        is_half_open=st.booleans(),
        up=_sides,
        down=_sides,
    )
)
def test_the_text_of_any_conditions_gives_them_again(conditions: Conditions) -> None:
    assert parse_conditions(conditions_text(conditions)) == conditions
