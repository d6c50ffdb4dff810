"""From the settings to the constants of the pure parts."""

from __future__ import annotations

import re
from typing import Final

from module_gateway.module_handler.connections import ConnectionLimits
from module_gateway.module_handler.core import CoreLimits
from module_gateway.module_handler.delivery import Window
from module_gateway.module_handler.devices import DeviceLimits
from module_gateway.module_handler.outbox import Bounds
from module_gateway.module_handler.store import StoredState
from module_gateway.module_handler.upstream import UpstreamLimits
from module_gateway.protocol.errors import ConfigError
from module_gateway.protocol.identity import PARTITIONS
from module_gateway.runtime.settings import Settings

_FORM: Final = re.compile(r"\d{1,2}(-\d{1,2})?(,\d{1,2}(-\d{1,2})?)*", re.ASCII)


def parse_partitions(text: str, where: str = "module-handler-settings.partitions") -> int:
    """`0-31`, `0,5-7`: a bit for each partition that this handler owns.

    Raises:
        ConfigError: it does not have that form, or names a partition that does not exist.
    """
    bits = 0
    if _FORM.fullmatch(text):
        for part in text.split(","):
            first, _, last = part.partition("-")
            span = range(int(first), int(last or first) + 1)
            if not span or span[-1] >= PARTITIONS:
                bits = 0
                break
            for partition in span:
                bits |= 1 << partition
    if not bits:
        expected = f"numbers or ranges from 0 to {PARTITIONS - 1}, such as '0-31' or '0,5-7'"
        raise ConfigError(where, got=text, expected=expected)
    return bits


def refuse_foreign(state: StoredState, partitions: int) -> None:
    """A store is never served in part: what belongs to another handler now would be stuck in it.

    Raises:
        ConfigError: it holds a device, or statuses that wait, of a partition that is not among
            `partitions` (a bit for each).
    """
    held = {log.identity for log in state.logs} | {one.identity for one in state.devices}
    foreign = sorted(each for each in held if not partitions >> each.partition & 1)
    if foreign:
        raise ConfigError(
            "module-handler-settings",
            got=f"a division in which {len(foreign)} devices of this store belong to another "
            f"handler, {foreign[0]} for one",
            expected="`partitions` and `processes` as they were when the store was filled",
            hint="set them back, let the devices leave and the backlog drain, then change them",
        )


def limits_of(settings: Settings) -> CoreLimits:
    """Every bound and period of the core.

    Raises:
        ConfigError: the partitions have a wrong form.
    """
    own = settings.module_handler_settings
    return CoreLimits(
        UpstreamLimits(
            Bounds(own.outbox_entries, own.outbox_bytes),
            Window(own.delivery_window, own.delivery_window_bytes),
            own.outbox_total_bytes,
            own.outbox_age_s,
            replayed_modules(settings),
        ),
        DeviceLimits(
            heartbeat_s=own.heartbeat_ms / 1000,
            commands=own.external_commands,
            grace_s=own.return_grace_ms / 1000,
        ),
        ConnectionLimits(
            probe_window_s=own.probe_window_ms / 1000,
            silence_s=settings.bus.silence_ms / 1000,
            inactivity_s=settings.internal_server_settings.inactivity_ms / 1000,
            max_identities=own.max_identities,
            partitions=parse_partitions(own.partitions),
        ),
    )


def replayed_modules(settings: Settings) -> frozenset[int]:
    """The modules with `replay` (R18)."""
    return frozenset(
        int(number)
        for number, own in settings.module_settings.items()
        if own.get("replay") is True and number.isdecimal()
    )
