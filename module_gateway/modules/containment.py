"""A wall round a module: whatever it does, its caller gets an answer or one kind of error.

Modules are written by many people and see bytes from many devices. One that raises, hangs or
returns nonsense must cost its own device a reply and nobody else anything (fleet-protocol 3.2,
cases 25 and 41).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, cast

from pydantic import BaseModel

from module_gateway.modules.api import Module, ModuleSettings
from module_gateway.protocol.errors import ModuleError, Reason

MAX_RESULT_BYTES: Final = 1024 * 1024
"""No result may be larger than the largest frame that a device accepts (fleet-protocol 1.5)."""

MAX_DETAIL_CHARS: Final = 200
"""Detail texts quote module and device text; a log line needs no more of it."""

Limit = Callable[[], AbstractContextManager[object]]
"""Makes the context in which one call runs, e.g. `runtime.watchdog.TimeLimit`."""


class ModuleHung(BaseException):
    """A module used up its time.

    An interruption like KeyboardInterrupt and not an `Exception`, so that a module's own
    `except Exception` does not swallow it.
    """


class ContainedModule:
    """The same questions as `Module`, answered with the promised type or by `ModuleError`.

    Every method raises `ModuleError` (reason MODULE_FAILED or MODULE_HUNG, a short clean detail,
    the module's own exception as its cause) and nothing else; only `KeyboardInterrupt` passes.
    A result of `bytearray` or `memoryview` counts as bytes. `b""` is a valid, empty result;
    None is not: a forgotten `return` must not wipe a status.
    """

    def __init__(
        self, module: Module, number: int | None = None, limit: Limit = nullcontext
    ) -> None:
        """`number` is the one that the configuration gives it, by default the module's own."""
        self.number: int = module.default_number if number is None else number
        self.name: str = module.name
        self.settings: ModuleSettings = module.settings
        self.device_types: frozenset[int] | None = module.device_types
        self.status_payload: type[BaseModel] | None = module.StatusPayload
        self.command_payload: type[BaseModel] | None = module.CommandPayload
        self._module = module
        self._limit = limit

    def __repr__(self) -> str:
        return f"<ContainedModule {self.number} {self.name}>"

    def is_device_type_supported(self, device_type: int) -> bool:
        return self._ask_bool("is_device_type_supported", device_type)

    def forward_command_on_receive(self, device_type: int) -> bool:
        return self._ask_bool("forward_command_on_receive", device_type)

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        return self._ask_bool("status_data_valid", status, device_type)

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        return self._ask_bool("command_data_valid", command, device_type)

    def generate_first_command(self, device_type: int) -> bytes:
        return self._ask_bytes("generate_first_command", device_type)

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        return self._ask_bool("send_status_condition", current, new, device_type, since_published_s)

    def aggregate_status(self, current: bytes, new: bytes, device_type: int) -> bytes:
        return self._ask_bytes("aggregate_status", current, new, device_type)

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes:
        return self._ask_bytes("generate_command", new, previous, command, device_type)

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        return self._ask_bytes("aggregate_error", error, status, device_type)

    def _ask_bool(self, function: str, *arguments: object) -> bool:
        result = self._ask(function, arguments)
        if type(result) is bool:
            return result
        raise ModuleError(f"{self.name}.{function} returned {_type_of(result)}, not bool")

    def _ask_bytes(self, function: str, *arguments: object) -> bytes:
        result = self._ask(function, arguments)
        if type(result) is bytes and len(result) <= MAX_RESULT_BYTES:
            return result
        # Of its type, because an object may lie about its class, or raise when asked.
        if not issubclass(type(result), bytes | bytearray | memoryview):
            raise ModuleError(f"{self.name}.{function} returned {_type_of(result)}, not bytes")
        try:
            view = memoryview(cast("bytes", result))
        except Exception as failure:  # an edge: a view that was released, a buffer that raises
            raise ModuleError(f"{self.name}.{function} returned unusable bytes") from failure
        if view.nbytes > MAX_RESULT_BYTES:
            raise ModuleError(
                f"{self.name}.{function} returned {view.nbytes} bytes, over {MAX_RESULT_BYTES}"
            )
        return view.tobytes()

    def _ask(self, function: str, arguments: tuple[object, ...]) -> object:
        """Call it; this is the supervisor edge where everything that a module raises ends."""
        try:
            with self._limit():
                return getattr(self._module, function)(*arguments)
        except KeyboardInterrupt:
            raise
        except ModuleHung as hung:
            detail = f"{self.name}.{function} used up its time"
            raise ModuleError(detail, Reason.MODULE_HUNG) from hung
        except ModuleError as refusal:
            detail = f"{self.name}.{function}: {_text_of(refusal)}"
            raise ModuleError(detail) from refusal
        except BaseException as failure:
            text = f"{_type_of(failure)}: {_text_of(failure)}"
            raise ModuleError(f"{self.name}.{function} raised {text}") from failure


def clean_detail(text: str) -> str:
    """Printable text of at most MAX_DETAIL_CHARS, whatever a module or a device put into it."""
    if len(text) > MAX_DETAIL_CHARS:
        text = text[: MAX_DETAIL_CHARS - 1] + "…"
    return "".join(char if char.isprintable() else "?" for char in text)


def _text_of(failure: BaseException) -> str:
    try:
        return clean_detail(str(failure))
    except BaseException:  # noqa: BLE001  # an edge: an exception may fail to describe itself
        return "(no text)"


def _type_of(value: object) -> str:
    try:
        return clean_detail(type(value).__name__)
    except Exception:  # noqa: BLE001  # an edge: a metaclass may do anything
        return "(no name)"
