"""The light in a button."""

from __future__ import annotations

import pytest

from module_gateway.modules.button_light import light_after


@pytest.mark.parametrize("pressed", [True, False])
@pytest.mark.parametrize("commanded", [True, False, None])
def test_first_status_decides_alone(pressed: bool, commanded: bool | None) -> None:
    assert light_after(pressed=pressed, pressed_before=None, commanded=commanded) is pressed


def test_without_commands_the_light_is_the_button_for_ever() -> None:
    before: bool | None = None
    light = False
    for pressed in (False, True, True, False, True, False, False):
        light = light_after(pressed=pressed, pressed_before=before, commanded=light)
        assert light is pressed
        before = pressed


def test_command_stands_until_the_button_agrees() -> None:
    light = light_after(pressed=False, pressed_before=False, commanded=True)
    assert light
    light = light_after(pressed=False, pressed_before=False, commanded=light)
    assert light
    light = light_after(pressed=True, pressed_before=False, commanded=light)
    assert light
    assert not light_after(pressed=False, pressed_before=True, commanded=light)


def test_empty_command_leaves_the_light_to_the_button() -> None:
    assert light_after(pressed=True, pressed_before=False, commanded=None)
