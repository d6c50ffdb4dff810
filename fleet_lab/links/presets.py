"""What a device's network is like: presets, own values, and both as one line of text.

A byte stream knows no loss: a lost segment is sent again and everything behind it waits, so loss
shows as a stall. That is why there is no `loss` here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

_KBIT: Final = 1_000.0
_MBIT: Final = 1_000_000.0
QUEUE_S: Final = 0.2
"""Default of `queue_s`. Declared, because a rate limit without one is an endless buffer; much
smaller ones (20 ms in a common setting) throttle every burst (emulation.md 1.3, 4.5)."""


@dataclass(frozen=True, slots=True)
class OneWay:
    """One direction. All values are one way; defaults mean "no such trouble"."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Standard deviation of the delay; order is kept, so dense traffic sees a higher mean."""
    rate_bps: float | None = None
    """Bits per second; None: as fast as the machine."""
    queue_s: float = QUEUE_S
    """How much may wait for the rate before the writer is asked to pause, in seconds of it."""
    stall_every_s: float | None = None
    """From the start of one stall to the start of the next."""
    stall_s: float = 0.0
    """How long nothing passes; then everything that waited does."""
    is_cut: bool = False
    """Nothing passes until it is healed; what was sent meanwhile is kept."""
    is_half_open: bool = False
    """Nothing arrives, nothing is told: bytes and the end of the connection vanish."""

    @property
    def is_clear(self) -> bool:
        """Whether this direction needs no shim at all."""
        return not (
            self.delay_s or self.jitter_s or self.rate_bps or self.stall_s
            or self.is_cut or self.is_half_open
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Side:
    """What one direction has different from the other; None: as both."""

    delay_s: float | None = None
    jitter_s: float | None = None
    rate_bps: float | None = None
    queue_s: float | None = None
    stall_every_s: float | None = None
    stall_s: float | None = None
    is_cut: bool | None = None
    is_half_open: bool | None = None


NO_OVERRIDE: Final = Side()
_ONE_WAY: Final = tuple(field.name for field in fields(OneWay))


@dataclass(frozen=True, slots=True)
class Conditions:
    """Both directions: the values of `OneWay`, `up` (from the device) and `down` may differ."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    rate_bps: float | None = None
    queue_s: float = QUEUE_S
    stall_every_s: float | None = None
    stall_s: float = 0.0
    is_cut: bool = False
    is_half_open: bool = False
    reset_every_s: float | None = None
    """Mean life of a connection: it ends with a reset after half to one and a half of it."""
    up: Side = NO_OVERRIDE
    down: Side = NO_OVERRIDE

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: a sentence that names the value.
        """
        if self.reset_every_s is not None and self.reset_every_s <= 0:
            raise ValueError("reset-every must be longer than 0")
        for way in (self.one_way("up"), self.one_way("down")):
            _require_possible(way)

    def one_way(self, direction: str) -> OneWay:
        """The resolved conditions of "up" or "down"."""
        side = self.up if direction == "up" else self.down
        values = {name: getattr(side, name) for name in _ONE_WAY}
        return OneWay(
            **{n: getattr(self, n) if value is None else value for n, value in values.items()}
        )

    @property
    def is_clear(self) -> bool:
        """Whether no shim is needed."""
        ways = self.one_way("up"), self.one_way("down")
        return self.reset_every_s is None and all(way.is_clear for way in ways)

    @property
    def is_passable(self) -> bool:
        """Whether a new connection can be made at all: neither direction is cut."""
        return not (self.one_way("up").is_cut or self.one_way("down").is_cut)

    def cut(self) -> Conditions:
        """The same network, cut in both directions."""
        up, down = replace(self.up, is_cut=None), replace(self.down, is_cut=None)
        return replace(self, is_cut=True, up=up, down=down)


def _require_possible(way: OneWay) -> None:
    for name in ("delay_s", "jitter_s", "stall_s"):
        if getattr(way, name) < 0:
            raise ValueError(f"{name.removesuffix('_s')} must not be negative")
    if way.rate_bps is not None and way.rate_bps <= 0:
        raise ValueError("rate must be above 0; write `cut` for a network that carries nothing")
    if way.queue_s <= 0:
        raise ValueError("queue must be longer than 0")
    if bool(way.stall_s) != (way.stall_every_s is not None):
        raise ValueError("stall and stall-every belong together")
    if way.stall_every_s is not None and way.stall_every_s <= way.stall_s:
        raise ValueError("stall-every must be longer than stall")


def _preset(delay_s: float, jitter_s: float, rate_bps: float) -> Conditions:
    return Conditions(delay_s=delay_s, jitter_s=jitter_s, rate_bps=rate_bps)


CLEAR: Final = Conditions()
LTE: Final = _preset(0.040, 0.010, 15 * _MBIT)
SATELLITE: Final = Conditions(
    delay_s=0.300, jitter_s=0.020, up=Side(rate_bps=3 * _MBIT), down=Side(rate_bps=10 * _MBIT)
)
OFFLINE: Final = Conditions(is_cut=True)


def flaky(up_s: float = 20.0, down_s: float = 5.0, over: Conditions = LTE) -> Conditions:
    """Up for `up_s`, then nothing passes for `down_s`, again and again, over another network.

    Raises:
        ValueError: a time is not above 0.
    """
    if up_s <= 0 or down_s <= 0:
        raise ValueError("both times of FLAKY must be above 0")
    return replace(over, stall_every_s=up_s + down_s, stall_s=down_s)


LINKS: Final[Mapping[str, Conditions]] = {
    "GPRS": _preset(0.700, 0.100, 50 * _KBIT),
    "EDGE": _preset(0.700, 0.100, 100 * _KBIT),
    "3G": _preset(0.300, 0.150, 1_500 * _KBIT),
    "FAST_3G": _preset(0.150, 0.050, 4_000 * _KBIT),
    "LTE": LTE,
    "WIFI": _preset(0.025, 0.005, 50 * _MBIT),
    "CABLE": _preset(0.005, 0.005, 100 * _MBIT),
    "SATELLITE": SATELLITE,
    "OFFLINE": OFFLINE,
    "FLAKY": flaky(),
}
"""Sources: emulation.md 1.3 for the seven (`3G` is its REGULAR_3G), decisions.md for the rest."""
