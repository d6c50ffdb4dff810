"""What the light in a button shows: shared by the two modules whose devices are lit buttons."""

from __future__ import annotations


def light_after(*, pressed: bool, pressed_before: bool | None, commanded: bool | None) -> bool:
    """Whether the light is on after a status.

    The light follows the button. A command from the control plane that wants it otherwise
    stands, and is repeated, until the button itself comes to agree; then the light follows the
    button again. A module keeps no state, so the only sign of such a command is that it differs
    from what the button said before (`pressed_before`, None for a device's first status);
    a command that asks for what is already so changes nothing.

    Args:
        pressed: the button now.
        pressed_before: the button at the previous status.
        commanded: the light as the waiting or last command has it, None for an empty command.
    """
    if pressed_before is None or commanded is None or commanded == pressed_before:
        return pressed
    return commanded
