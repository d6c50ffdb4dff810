"""The two sides of a sink: where a device's statuses go and its commands come from.

A sink serves one device. It tells what happens through the `DevicePort` it was opened with;
every call is made in the event loop and must not block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import BaseProtocol, Semaphore
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol, TypeAlias

from fleet_lab.devices.api import Device
from fleet_lab.errors import LabError

OPENING_AT_ONCE: Final = 100
"""Below the backlog of 128 that many listeners have (Linux' former somaxconn)."""

WrapProtocol: TypeAlias = Callable[[Callable[[], BaseProtocol]], Callable[[], BaseProtocol]]
"""Puts a link between a TCP transport and a sink's protocol (`fleet_lab.links.transport.wrap`)."""


@dataclass(frozen=True, slots=True)
class SinkUrl:
    """The text of a sink, taken apart once for all devices of a fleet.

    Attributes:
        text: the whole of it.
        scheme, host, port: as in a URL; empty and 0 where there is none.
        path: what follows, with placeholders (`fleet_lab.sinks.paths.expand`).
        opening: held while a connection is made, so that a fleet which lost its gateway does not
            overrun the listener's backlog; shared, as the text is, by all devices of a fleet.
    """

    text: str
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    opening: Semaphore = field(
        default_factory=lambda: Semaphore(OPENING_AT_ONCE), compare=False, repr=False
    )

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def netloc(self) -> str:
        """The same as it stands in a URL: an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else self.address


class DevicePort(Protocol):
    """What a sink tells the engine about its device."""

    @property
    def device(self) -> Device:
        """Who it is: id, module, device_type, role, name, priority, rng."""
        ...

    def connected(self) -> None:
        """The far side accepts statuses (again)."""
        ...

    def disconnected(self, reason: str) -> None:
        """The connection ended; what is unanswered is in doubt. The sink connects again."""
        ...

    def refused(self, response: int, explanation: str) -> None:
        """The far side does not want the device (fleet-protocol 1.2). The sink tries again."""
        ...

    def answered(self, number: int, command: bytes, is_own: bool) -> None:  # noqa: FBT001  # called with positions, millions of times
        """The attempt was taken, with a command or b"". Not `is_own`: named another device."""
        ...

    def commanded(self, payload: bytes) -> None:
        """A command came by itself."""
        ...

    def failed(self, number: int, reason: str) -> None:
        """The attempt was certainly not taken."""
        ...


class Sink(ABC):
    """Carries the statuses of one device; a person's own sink is one subclass of this.

    Attributes:
        is_stream: whether it runs over one TCP stream that `set_link` can put a link into.
    """

    __slots__ = ("url",)

    is_stream: ClassVar[bool] = False

    def __init__(self, url: SinkUrl) -> None:
        self.url = url

    def set_link(self, wrap: WrapProtocol) -> None:
        """Put a link into the stream; before `open`. Only where `is_stream`.

        Raises:
            LabError: this sink has no stream of its own.
        """
        del wrap
        raise LabError(f"sink {self.url.text}: link conditions need a fleet-protocol sink")

    @property
    @abstractmethod
    def can_publish(self) -> bool:
        """Whether `publish` would be taken now: connected, and nothing forbids one more.

        It becomes true only within `port.connected()`, `port.answered()` or `port.failed()`, so
        an engine with a backlog looks again there.
        """

    @abstractmethod
    async def open(self, port: DevicePort) -> None:
        """Connect for the first time; from then on the sink connects again by itself.

        Raises:
            LabError: not reachable or refused; the text is one line for a person.
        """

    @abstractmethod
    def publish(self, number: int, payload: bytes) -> None:
        """Take one status; `port.failed` at once when it cannot."""

    @abstractmethod
    async def close(self) -> None:
        """End; safe to call twice and before `open`. Nothing is told to the port afterwards."""
