"""From settings to the constants of the core."""

from __future__ import annotations

import pytest

from module_gateway.module_handler.limits import limits_of, parse_partitions, refuse_foreign
from module_gateway.module_handler.store import DeviceStored, Extent, LogStored, StoredState
from module_gateway.protocol.errors import ConfigError
from module_gateway.protocol.identity import Identity
from module_gateway.runtime.settings import ModuleHandlerSettings, Settings


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("0-63", 2**64 - 1),
        ("0", 1),
        ("63", 1 << 63),
        ("0,2-3", 0b1101),
        ("5-5,5", 1 << 5),
    ],
)
def test_partitions_are_bits(text: str, bits: int) -> None:
    assert bits == parse_partitions(text)


@pytest.mark.parametrize(
    "text", ["", "64", "3-1", "a", "0-", "-1", "0,,1", "0-64", "1 2", "0-3x", "٣"]
)
def test_other_texts_are_refused_with_the_key(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_partitions(text)
    assert "module-handler-settings.partitions" == caught.value.where


def test_limits_are_the_settings_in_seconds() -> None:
    own = ModuleHandlerSettings(
        heartbeat_ms=5_000,
        probe_window_ms=100,
        return_grace_ms=500,
        partitions="1",
        max_identities=9,
    )
    limits = limits_of(Settings(module_handler_settings=own))
    assert (5.0, 0.5, 3) == (
        limits.devices.heartbeat_s,
        limits.devices.grace_s,
        limits.devices.commands,
    )
    assert (0.1, 4.0, 30.0, 9, 2) == (
        limits.connections.probe_window_s,
        limits.connections.silence_s,
        limits.connections.inactivity_s,
        limits.connections.max_identities,
        limits.connections.partitions,
    )
    assert (100_000, 2_000, 2 << 30, 604_800) == (
        limits.upstream.log.entries,
        limits.upstream.window.deliveries,
        limits.upstream.total_bytes,
        limits.upstream.age_s,
    )


def test_modules_with_replay_are_those_whose_settings_say_so() -> None:
    settings = Settings(module_settings={"1": {"replay": True}, "2": {"replay": False}, "1001": {}})
    assert frozenset({1}) == limits_of(settings).upstream.replayed


OWN = Identity(1000, 0, "button")
ENTRY = LogStored(OWN, (Extent(1, 1, 10, 0),))


@pytest.mark.parametrize("state", [StoredState((DeviceStored(OWN),)), StoredState(logs=(ENTRY,))])
def test_a_store_is_not_served_in_part(state: StoredState) -> None:
    owned = 1 << OWN.partition
    refuse_foreign(state, owned)
    with pytest.raises(ConfigError, match=r"1 devices of this store .* 1000/0/button"):
        refuse_foreign(state, ~owned)


def test_an_empty_store_may_be_divided_anew() -> None:
    refuse_foreign(StoredState(last_sequence=77), 1)
