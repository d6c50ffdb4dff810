"""What a person writes to make a device: state, periodic work, commands and hooks.

    class Thermometer(Device):
        celsius = State(20.0)

        @every("1s")
        def measure(self) -> None:
            self.celsius += self.rng.uniform(-0.5, 0.5)
            self.report({"celsius": self.celsius})

        @command
        def reset(self, to: float = 20.0) -> None:
            self.celsius = to

A device knows neither time nor network: an engine calls its schedule, a sink carries its reports.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import re
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast, overload

from fleet_lab.devices.generators import Stream
from fleet_lab.durations import parse_duration_s
from fleet_lab.errors import EXIT_CONFIG, LabError, nearest

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])
Payload: TypeAlias = Mapping[str, Any] | bytes
"""A JSON object, or bytes that travel as they are."""

_PERIOD_MARK: Final = "__fleet_lab_period_s__"
_COMMAND_MARK: Final = "__fleet_lab_command__"
_NOT_OF_A_ROLE: Final = re.compile(r"[^a-z0-9_]+")
_ATTRIBUTES: Final = ("module", "device_type", "role", "name", "priority")
_UINT32_MAX: Final = 2**32 - 1


def _make_encoder() -> Callable[[Any], str]:
    """JSON text of one value.

    `JSONEncoder.encode` makes its C encoder anew for every call, which costs more than encoding a
    status; where the interpreter has that encoder it is made once.
    """
    slow = json.JSONEncoder(ensure_ascii=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return slow.encode
    quote = json.encoder.encode_basestring
    fast = make(None, slow.default, quote, None, ": ", ", ", False, False, True)  # takes no names
    return lambda value: "".join(fast(value, 0))


_encode: Final = _make_encoder()


class State(Generic[T]):
    """A declared attribute with a default; it is part of `sample()` and of the telemetry.

    A list, dict or set as default is copied for each device.
    """

    __slots__ = ("default", "name")

    def __init__(self, default: T) -> None:
        self.default = default
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, device: None, owner: type) -> State[T]: ...
    @overload
    def __get__(self, device: Device, owner: type) -> T: ...
    def __get__(self, device: Device | None, owner: type) -> State[T] | T:
        if device is None:
            return self
        return cast("T", device.state[self.name])

    def __set__(self, device: Device, value: T) -> None:
        device.state[self.name] = value

    def fresh(self) -> T:
        """The default of one more device."""
        return copy.deepcopy(self.default)


class Periodic(NamedTuple):
    """A method that is called again and again."""

    name: str
    period_s: float


def every(period: str | float) -> Callable[[F], F]:
    """Call the method once per period (`"250ms"`, `"1s"` or seconds), while the device runs.

    Raises:
        LabError: the period is no positive duration.
    """
    try:
        period_s = parse_duration_s(period) if isinstance(period, str) else float(period)
    except ValueError as error:
        raise LabError(f"@every: {error}", EXIT_CONFIG) from None
    if not 0 < period_s < float("inf"):
        raise LabError(f"@every: {period!r} is no positive duration", EXIT_CONFIG)

    def mark(function: F) -> F:
        setattr(function, _PERIOD_MARK, period_s)
        return function

    return mark


def command(function: F) -> F:
    """Make the method a command: `{"command": "<its name>", …}`, the rest are its arguments."""
    setattr(function, _COMMAND_MARK, True)
    return function


class UnknownCommandError(Exception):
    """A command names no `@command` method of the device."""


def _publish_nowhere(number: int, payload: bytes) -> None:
    del number, payload


class Device:
    """A virtual device. Override what is of interest; everything has a working default.

    An exception in any method that the lab calls goes to `on_error` and is counted in `errors`;
    it never ends a schedule.

    Attributes:
        id: unique in its fleet.
        rng: generator of its own; the same seed gives the same numbers.
        options: what the fleet was told; the keys module, device_type, role, name and priority
            set the attributes of these names.
        module, device_type, role, name, priority: who it is to a gateway (fleet-protocol 1.4).
            The role is the id, with `_` for what a role must not hold; the name is the role.
        numbered: whether "n" (number of the attempt) and "id" are put into JSON object payloads.
        hears_repeats: whether `on_command` also hears an answer that equals the one before. A
            gateway repeats the last command with every answer (fleet-protocol 2.6).
        attempts, errors, last_error, last_payload: what happened so far.
    """

    module: int = 3
    device_type: int = 1
    role: str = ""
    name: str = ""
    priority: int = 0
    numbered: bool = True
    hears_repeats: bool = False

    periodic: ClassVar[tuple[Periodic, ...]] = ()
    commands: ClassVar[frozenset[str]] = frozenset()
    _states: ClassVar[Mapping[str, State[Any]]] = MappingProxyType({})

    def __init_subclass__(cls, **arguments: Any) -> None:  # noqa: ANN401  # whatever a parent takes
        super().__init_subclass__(**arguments)
        found = dict(inspect.getmembers_static(cls))
        cls._states = MappingProxyType({n: m for n, m in found.items() if isinstance(m, State)})
        cls.commands = frozenset(n for n, m in found.items() if hasattr(m, _COMMAND_MARK))
        periods = ((n, getattr(m, _PERIOD_MARK, None)) for n, m in found.items())
        cls.periodic = tuple(Periodic(n, period) for n, period in periods if period is not None)

    def __init__(
        self,
        id: str,  # noqa: A002  # the one word for it
        rng: Stream | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.id = id
        self.rng = rng if rng is not None else Stream(0, id)
        self.options = options
        self.state: dict[str, Any] = {n: state.fresh() for n, state in self._states.items()}
        self.attempts = 0
        self.errors = 0
        self.last_error = ""
        self.last_payload = b""
        self._publish: Callable[[int, bytes], None] = _publish_nowhere
        self._last_answer: bytes | None = None
        self._running: dict[str, asyncio.Task[None]] | None = None
        self._tail = f', "id": {_encode(id)}, "n": '
        for key in _ATTRIBUTES:
            if key in options:
                setattr(self, key, _checked_attribute(id, key, options[key]))
        self.role = self.role or _NOT_OF_A_ROLE.sub("_", id.lower())
        self.name = self.name or self.role

    # What a person overrides.

    def on_start(self) -> object:
        """The device begins; it may have no connection yet. May be async, as all hooks."""

    def on_stop(self) -> object:
        """The device ends."""

    def on_connect(self) -> object:
        """Its sink is connected."""

    def on_disconnect(self, reason: str) -> object:
        """Its sink lost the connection and tries again."""

    def on_error(self, error: Exception) -> object:
        """Something of the device's own went wrong; it is already counted."""

    def on_command(self, payload: bytes) -> object:
        """A command arrived. By default it calls the `@command` method that it names.

        Whatever is no JSON object with the key "command" is left alone.

        Raises:
            UnknownCommandError: no method has this name.
        """
        try:
            fields = json.loads(payload) if payload else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(fields, dict) or not isinstance(fields.get("command"), str):
            return None
        name = fields.pop("command")
        if name not in self.commands:
            raise UnknownCommandError(f"no command {name!r}{nearest(name, self.commands)}")
        return cast("object", getattr(self, name)(**fields))

    def sample(self) -> Payload:
        """What a load shape sends: by default the declared state."""
        return self.state

    def report(self, payload: Payload) -> int:
        """Hand one status to the sink; returns the number of this attempt (1, 2, 3 …)."""
        self.attempts = number = self.attempts + 1
        if isinstance(payload, bytes):
            encoded = payload
        else:
            text = _encode(payload if isinstance(payload, dict) else dict(payload))
            if self.numbered:
                # The object stays open for two more keys; of equal keys the last one counts.
                tail = self._tail if len(text) > len("{}") else self._tail[2:]
                text = f"{text[:-1]}{tail}{number}}}"
            encoded = text.encode()
        self.last_payload = encoded
        self._publish(number, encoded)
        return number

    # What an engine calls.

    def attach(self, publish: Callable[[int, bytes], None]) -> None:
        """Where `report` hands number and payload from now on."""
        self._publish = publish

    def started(self) -> None:
        """Run `on_start`."""
        self._call("on_start", self.on_start)

    def stopped(self) -> None:
        """Run `on_stop`."""
        self._call("on_stop", self.on_stop)

    def connected(self) -> None:
        """Run `on_connect`."""
        self._last_answer = None
        self._call("on_connect", self.on_connect)

    def disconnected(self, reason: str) -> None:
        """Run `on_disconnect`."""
        self._call("on_disconnect", self.on_disconnect, reason)

    def due(self, name: str) -> None:
        """Run the `@every` method of this name; skipped while its last run is still going on."""
        if self._running is None or name not in self._running:
            self._call(name, getattr(self, name))

    def report_sample(self) -> int:
        """Report `sample()`; returns the attempt's number, 0 when the sample failed."""
        try:
            return self.report(self.sample())
        except Exception as error:  # noqa: BLE001  # supervisor of the user's own code
            self.failed(error)
            return 0

    def answered(self, payload: bytes) -> None:
        """A status was answered with this command; repeats are skipped unless wanted."""
        if payload == self._last_answer and not self.hears_repeats:
            return
        self._last_answer = payload
        if payload:
            self._call("on_command", self.on_command, payload)

    def commanded(self, payload: bytes) -> None:
        """A command came by itself."""
        self._call("on_command", self.on_command, payload)

    def failed(self, error: Exception) -> None:
        """Count the error and tell `on_error`, whose own errors end here."""
        self.errors += 1
        self.last_error = f"{type(error).__name__}: {error}"
        try:
            result = self.on_error(error)
        except Exception:  # noqa: BLE001  # the last supervisor: on_error itself failed
            self.errors += 1
            return
        if inspect.iscoroutine(result):
            self._start("on_error", result)

    def telemetry(self) -> dict[str, Any]:
        """State and counters, as `fleet-lab telemetry` shows them."""
        return {
            "id": self.id,
            "state": dict(self.state),
            "last_status": self.last_payload.decode("utf-8", "backslashreplace"),
            "attempts": self.attempts,
            "errors": self.errors,
            "last_error": self.last_error,
        }

    async def settle(self) -> None:
        """Cancel what async methods still do and wait for it."""
        running = list((self._running or {}).values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _call(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        try:
            result = function(*arguments)
        except Exception as error:  # noqa: BLE001  # supervisor of the user's own code
            self.failed(error)
            return
        if inspect.iscoroutine(result):
            self._start(name, result)

    def _start(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        if self._running is None:
            self._running = {}
        key = name
        while key in self._running:
            key += "+"
        task = asyncio.get_running_loop().create_task(
            self._supervise(key, work), name=f"{self.id} {name}"
        )
        self._running[key] = task

    async def _supervise(self, key: str, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  # supervisor of the user's own code
            self.failed(error)
        finally:
            if self._running is not None:
                self._running.pop(key, None)


def _checked_attribute(device: str, key: str, value: object) -> str | int:
    if key in ("role", "name"):
        if isinstance(value, str):
            return value
        expected = "text"
    else:
        if type(value) is int and 0 <= value <= _UINT32_MAX:
            return value
        expected = f"a number from 0 to {_UINT32_MAX}"
    raise LabError(
        f"device {device}: option {key!r} is {value!r}; expected {expected}", EXIT_CONFIG
    )
