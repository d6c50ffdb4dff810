"""One device's merged status and what of it is published (fleet-protocol 3.3, 3.5, 3.6).

Pure: the module is asked, nothing else; time is an argument. An `Aggregate` begins with the
device's first valid status and ends with its registration, so a device that returns never meets
what it left behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from module_gateway.protocol.errors import ModuleError, Reason


class Merging(Protocol):
    """What the aggregator asks of a module; every method raises ModuleError and nothing else."""

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool: ...

    def aggregate_status(self, current: bytes, new: bytes, device_type: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Publication:
    """A status on its way upstream.

    `is_repeat`: it was published before, so nobody may count it again (R9).
    """

    status: bytes
    is_repeat: bool = False
    ends_registration: bool = False


@dataclass(frozen=True, slots=True)
class Merge:
    """What one more status makes of an aggregate. Nothing has changed until it is applied.

    Attributes:
        status: the merge of before and new, None if the module refused to merge.
        is_wanted: the module wants it published now.
        failure: a function of the module refused, None if none did.
    """

    status: bytes | None
    is_wanted: bool
    failure: ModuleError | None


@dataclass(slots=True, eq=False)
class Aggregate:
    """The state of one registered device.

    Attributes:
        status: everything that was received, merged.
        published_at: monotonic seconds of the last publication.
        has_unpublished: something was merged since then.
    """

    status: bytes
    published_at: float
    has_unpublished: bool = False

    def apply(self, merge: Merge, now: float) -> Publication | None:
        """Take a merge over; returns what is to be published."""
        if merge.status is None:
            return None
        self.status = merge.status
        if not merge.is_wanted:
            self.has_unpublished = True
            return None
        return self._publish(now)

    def heartbeat(self, now: float) -> Publication:
        """Nothing was published for a heartbeat period: say the merged status."""
        publication = Publication(self.status, is_repeat=not self.has_unpublished)
        self._publish(now)
        return publication

    def final(self) -> Publication:
        """The device has left: its newest merged status ends the registration."""
        return Publication(self.status, is_repeat=not self.has_unpublished, ends_registration=True)

    def _publish(self, now: float) -> Publication:
        self.has_unpublished = False
        self.published_at = now
        return Publication(self.status)


def register(status: bytes, now: float) -> tuple[Aggregate, Publication]:
    """A device's first valid status: published without asking for the condition."""
    return Aggregate(status, now), Publication(status)


def merge_status(
    aggregate: Aggregate, module: Merging, status: bytes, device_type: int, now: float
) -> Merge:
    """Ask the module what to do with one more status of a registered device.

    A refused condition means "do not publish", a refused merge keeps the status of before and
    loses the new one (fleet-protocol 3.2).

    Raises:
        ModuleError: MODULE_HUNG only: a module that used up its time is not asked again.
    """
    current = aggregate.status
    failure = None
    is_wanted = False
    try:
        since_published_s = now - aggregate.published_at
        is_wanted = module.send_status_condition(current, status, device_type, since_published_s)
    except ModuleError as error:
        failure = _unless_hung(error)
    try:
        merged = module.aggregate_status(current, status, device_type)
    except ModuleError as error:
        return Merge(None, is_wanted=False, failure=_unless_hung(error))
    return Merge(merged, is_wanted, failure)


def _unless_hung(error: ModuleError) -> ModuleError:
    if error.reason is Reason.MODULE_HUNG:
        raise error
    return error
