"""A module that does what a test writes down, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable

from module_gateway.protocol.errors import ModuleError, Reason


class ScriptedModule:
    """Statuses are lists of words: a merge is `old,new`, an error `[a][b]`.

    A status with "quiet" in it is not worth publishing, "bad" is invalid. Commands with "bad" in
    them are invalid. `fails` and `hangs` name the functions that do. While `merges` is False a
    merge is the status that is known already.
    """

    def __init__(self, *, push_only: bool = False) -> None:
        self.push_only = push_only
        self.merges = True
        self.fails: set[str] = set()
        self.hangs: set[str] = set()
        self.asked: list[tuple[object, ...]] = []
        self.device_types = frozenset({0, 1})
        self.command_of: Callable[[bytes], bytes] = lambda command: command

    def calls(self, function: str) -> list[tuple[object, ...]]:
        return [call[1:] for call in self.asked if call[0] == function]

    def _ask(self, function: str, *arguments: object) -> None:
        self.asked.append((function, *arguments))
        if function in self.hangs:
            raise ModuleError(f"{function} hung", Reason.MODULE_HUNG)
        if function in self.fails:
            raise ModuleError(f"{function} failed")

    def is_device_type_supported(self, device_type: int) -> bool:
        self._ask("is_device_type_supported", device_type)
        return device_type in self.device_types

    def forward_command_on_receive(self, device_type: int) -> bool:
        self._ask("forward_command_on_receive", device_type)
        return self.push_only

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        self._ask("status_data_valid", status, device_type)
        return b"bad" not in status

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        self._ask("command_data_valid", command, device_type)
        return b"bad" not in command

    def generate_first_command(self, device_type: int) -> bytes:
        self._ask("generate_first_command", device_type)
        return b"first"

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        self._ask("send_status_condition", current, new, device_type, since_published_s)
        return b"quiet" not in new

    def aggregate_status(self, current: bytes, new: bytes, device_type: int) -> bytes:
        self._ask("aggregate_status", current, new, device_type)
        return current + b"," + new if self.merges else current

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes:
        self._ask("generate_command", new, previous, command, device_type)
        return self.command_of(command)

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        self._ask("aggregate_error", error, status, device_type)
        return error + b"[" + status + b"]"
