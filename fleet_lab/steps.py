"""The steps of a scenario, and which of them begins and ends when.

Pure: times are seconds since the start of the run, and conditions are asked for through `holds`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, assert_never

from fleet_lab.links.conditions import CLEAR, Conditions

LOOK_EVERY_S: Final = 0.25
"""How often the conditions of `when` are looked at; each look costs a verdict."""
OUTAGE: Final = "outage"
"""Name of what a step took away for a time, unless it has its own: `within 15s after outage`."""
UNDO_VERBS: Final = {"kill": "start", "stop": "start", "pause": "resume"}
VERBS: Final = ("kill", "pause", "resume", "restart", "stop", "start")
"""What can be done to a process."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Another number of devices."""

    fleet: str
    size: int


@dataclass(frozen=True, slots=True)
class Send:
    """A command to one device, or to all when `device` is None."""

    fleet: str
    payload: bytes
    device: str | None = None


@dataclass(frozen=True, slots=True)
class SetLink:
    """Another network, for the first `share` (0 to 1) of the fleet."""

    fleet: str
    conditions: Conditions
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Cut:
    """The network that it has, cut."""

    fleet: str
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Heal:
    """The network that the fleet was declared with; ends every step that changed it."""

    fleet: str


@dataclass(frozen=True, slots=True)
class Act:
    """One of VERBS, done to a process."""

    process: str
    verb: str


Action: TypeAlias = Scale | Send | SetLink | Cut | Heal | Act


@dataclass(frozen=True, slots=True)
class Step:
    """One action. It happens at `at_s`, or once `when` holds (not looked at before `at_s`).

    After `for_s` the opposite happens: the link comes back, the process is resumed or started.
    """

    action: Action
    at_s: float = 0.0
    when: str | None = None
    for_s: float | None = None
    name: str = ""

    @property
    def is_outage(self) -> bool:
        """Whether something is away between its begin and its end."""
        match self.action:
            case Cut() | Act(verb="pause"):
                return True
            case Act(verb="kill" | "stop"):
                return self.for_s is not None
            case SetLink(conditions=conditions):
                return not conditions.is_passable
            case _:
                return False

    @property
    def is_lasting(self) -> bool:
        """Whether it goes on after it began."""
        if isinstance(self.action, Act) and self.action.verb == "pause":
            return True
        return self.for_s is not None or isinstance(self.action, SetLink | Cut)

    @property
    def title(self) -> str:
        """Its name in the ribbon and in the checks."""
        return self.name or (OUTAGE if self.is_outage else self.verb)

    @property
    def verb(self) -> str:
        """The word of the file's `do`."""
        match self.action:
            case Act(verb=verb):
                return verb
            case SetLink():
                return "link"
            case other:
                return type(other).__name__.lower()

    @property
    def kind(self) -> str:
        """Of its span (`report.model.Span`)."""
        match self.action:
            case Act() | Cut() | Heal():
                return "fault"
            case SetLink():
                return "fault" if self.is_outage else "link"
            case Scale():
                return "load"
            case Send():
                return "step"
            case _:
                assert_never(self.action)


@dataclass(frozen=True, slots=True)
class Scenario:
    """All steps, in any order."""

    steps: tuple[Step, ...] = ()

    @property
    def end_s(self) -> float:
        """When the last timed thing is over; `when` steps are counted from their `at_s`."""
        return max((step.at_s + (step.for_s or 0.0) for step in self.steps), default=0.0)


@dataclass(frozen=True, slots=True)
class Begin:
    """The step with this index begins."""

    step: int


@dataclass(frozen=True, slots=True)
class End:
    """The step with this index is over; undo it."""

    step: int


class Timeline:
    """Which steps begin and end when. Of one moment, ends come before begins."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._waiting = sorted(range(len(steps)), key=lambda index: steps[index].at_s)
        self._ends: list[tuple[float, int]] = []

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen any more."""
        return not self._waiting and not self._ends

    def due(self, now_s: float, holds: Callable[[str], bool]) -> list[Begin | End]:
        """What happens now. Asks `holds` about conditions whose time has come."""
        ended = sorted(end for end in self._ends if end[0] <= now_s)
        self._ends = [end for end in self._ends if end[0] > now_s]
        begun = [index for index in self._waiting if self._begins(index, now_s, holds)]
        self._waiting = [index for index in self._waiting if index not in begun]
        for index in begun:
            step = self._steps[index]
            if step.for_s is not None:
                start_s = now_s if step.when is not None else step.at_s
                self._ends.append((start_s + step.for_s, index))
        return [*(End(index) for _, index in ended), *(Begin(index) for index in begun)]

    def next_s(self, now_s: float) -> float | None:
        """When to look again; None when it is over."""
        moments = [at_s for at_s, _ in self._ends]
        for index in self._waiting:
            step = self._steps[index]
            is_asked = step.when is not None and step.at_s <= now_s
            moments.append(now_s + LOOK_EVERY_S if is_asked else step.at_s)
        return min(moments, default=None)

    def _begins(self, index: int, now_s: float, holds: Callable[[str], bool]) -> bool:
        step = self._steps[index]
        return step.at_s <= now_s and (step.when is None or holds(step.when))


@dataclass(slots=True)
class LinkBook:
    """Which network each fleet has: the declared one and what steps put over it."""

    declared: Mapping[str, Conditions]
    _over: dict[str, dict[int, tuple[Conditions, float]]] = field(default_factory=dict)

    def put(self, step: int, fleet: str, conditions: Conditions, share: float) -> None:
        """A step changes the network."""
        self._over.setdefault(fleet, {})[step] = (conditions, share)

    def remove(self, step: int, fleet: str) -> bool:
        """The step's change is over; False when it was healed before."""
        return self._over.get(fleet, {}).pop(step, None) is not None

    def remove_all(self, fleet: str) -> list[int]:
        """Every change is over; says whose."""
        return list(self._over.pop(fleet, {}))

    def now(self, fleet: str) -> Conditions:
        """What most of the fleet has."""
        over = self._over.get(fleet)
        return self.declared.get(fleet, CLEAR) if not over else list(over.values())[-1][0]

    def orders(self, fleet: str) -> list[tuple[Conditions, float]]:
        """What to set, in this order, so that the fleet has what the book says."""
        orders = [(self.declared.get(fleet, CLEAR), 1.0), *self._over.get(fleet, {}).values()]
        whole = max(index for index, (_, share) in enumerate(orders) if share >= 1.0)
        return orders[whole:]
