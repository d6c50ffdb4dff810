"""The wall round a module."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from module_gateway.modules.api import Module, ModuleSettings
from module_gateway.modules.containment import (
    MAX_DETAIL_CHARS,
    MAX_RESULT_BYTES,
    ContainedModule,
    ModuleHung,
    clean_detail,
)
from module_gateway.modules.transparent import TransparentModule
from module_gateway.protocol.errors import ModuleError, Reason

CALLS: Final[dict[str, tuple[object, ...]]] = {
    "is_device_type_supported": (0,),
    "forward_command_on_receive": (0,),
    "status_data_valid": (b"", 0),
    "command_data_valid": (b"", 0),
    "generate_first_command": (0,),
    "send_status_condition": (b"", b"", 0, 0.0),
    "aggregate_status": (b"", b"", 0),
    "generate_command": (b"", b"", b"", 0),
    "aggregate_error": (b"", b"", 0),
}
"""Every function of a module, with arguments."""
ANSWERS_BYTES = pytest.mark.parametrize(
    "function",
    ["generate_first_command", "aggregate_status", "generate_command", "aggregate_error"],
)
ANSWERS_BOOL = pytest.mark.parametrize(
    "function",
    [
        "is_device_type_supported",
        "forward_command_on_receive",
        "status_data_valid",
        "command_data_valid",
        "send_status_condition",
    ],
)
EVERY = pytest.mark.parametrize("function", list(CALLS))


def contained(answer: Callable[[], object], limit: Any = None) -> ContainedModule:
    """A module of which every function does the same."""
    module = TransparentModule()
    for function in CALLS:
        setattr(module, function, lambda *_: answer())
    return ContainedModule(module, 7, limit) if limit else ContainedModule(module, 7)


def ask(module: ContainedModule, function: str) -> object:
    return getattr(module, function)(*CALLS[function])


def raising(failure: BaseException) -> Callable[[], object]:
    def answer() -> object:
        raise failure

    return answer


class Mute(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError


def test_every_function_of_the_api_is_contained() -> None:
    public = {name for name in vars(Module) if not name.startswith("_") and name.islower()}
    functions = {name for name in public if callable(getattr(Module, name))}
    assert set(CALLS) == functions
    assert functions <= set(vars(ContainedModule))


def test_answers_pass_unchanged() -> None:
    plain, wrapped = TransparentModule(), ContainedModule(TransparentModule())
    for function, arguments in CALLS.items():
        assert getattr(wrapped, function)(*arguments) == getattr(plain, function)(*arguments)


def test_it_tells_what_the_module_is() -> None:
    settings = ModuleSettings(replay=True)
    module = ContainedModule(TransparentModule(settings), 12)
    assert (module.number, module.name, module.settings) == (12, "transparent", settings)
    assert (module.device_types, module.status_payload, module.command_payload) == (None,) * 3
    assert ContainedModule(TransparentModule()).number == 3


@EVERY
@pytest.mark.parametrize(
    "failure",
    [
        ValueError("bad"),
        ModuleError("no"),
        RecursionError(),
        MemoryError(),
        SystemExit(3),
        GeneratorExit(),
        asyncio.CancelledError(),
        BaseExceptionGroup("several", [SystemExit(1)]),
        Mute(),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_case25_whatever_a_module_raises_is_a_module_error(
    function: str, failure: BaseException
) -> None:
    with pytest.raises(ModuleError) as caught:
        ask(contained(raising(failure)), function)
    assert caught.value.reason is Reason.MODULE_FAILED
    assert caught.value.__cause__ is failure
    assert caught.value.detail.startswith(f"transparent.{function}")


@ANSWERS_BYTES
def test_case25_next_call_is_answered_after_a_failure(function: str) -> None:
    answers = iter([None, b"fine"])
    module = contained(lambda: next(answers))
    with pytest.raises(ModuleError):
        ask(module, function)
    assert ask(module, function) == b"fine"


def test_object_that_lies_about_its_class_is_a_module_error() -> None:
    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]  # the lie
            raise RuntimeError

    class Liar(metaclass=Meta):
        @property
        def __class__(self) -> type:  # type: ignore[override]  # the lie
            raise RuntimeError

    for function in ("aggregate_status", "status_data_valid"):
        with pytest.raises(ModuleError, match="no name"):
            ask(contained(Liar), function)


def test_function_that_is_missing_is_a_module_error() -> None:
    module = TransparentModule()
    module.generate_first_command = None  # type: ignore[assignment,method-assign]  # the defect
    with pytest.raises(ModuleError, match="TypeError"):
        ContainedModule(module).generate_first_command(0)


def test_ctrl_c_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        ask(contained(raising(KeyboardInterrupt())), "status_data_valid")


@EVERY
def test_module_that_hangs_is_named_so(function: str) -> None:
    with pytest.raises(ModuleError, match="used up its time") as caught:
        ask(contained(raising(ModuleHung())), function)
    assert caught.value.reason is Reason.MODULE_HUNG


def test_limit_surrounds_each_call() -> None:
    order: list[str] = []

    @contextmanager
    def limit() -> Iterator[None]:
        order.append("in")
        yield
        order.append("out")

    def answer() -> object:
        order.append("call")
        return True

    module = contained(answer, limit)
    assert module.status_data_valid(b"", 0)
    assert module.command_data_valid(b"", 0)
    assert order == ["in", "call", "out"] * 2


@ANSWERS_BYTES
@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b"")])
def test_case41_empty_result_is_empty(function: str, empty: object) -> None:
    assert ask(contained(lambda: empty), function) == b""


@ANSWERS_BYTES
def test_other_kinds_of_bytes_become_bytes(function: str) -> None:
    class Special(bytes):
        def __len__(self) -> int:
            return 0

    for result in (bytearray(b"ab"), memoryview(b"axbx")[::2], Special(b"ab")):
        answer = ask(contained(lambda result=result: result), function)
        assert (type(answer), answer) == (bytes, b"ab")


@ANSWERS_BYTES
@pytest.mark.parametrize("result", [None, "text", 5, True, [1], {"a": 1}])
def test_wrong_type_for_bytes_is_a_module_error(function: str, result: object) -> None:
    with pytest.raises(ModuleError, match="not bytes"):
        ask(contained(lambda: result), function)


@ANSWERS_BOOL
@pytest.mark.parametrize("result", [None, 1, 0, "", b"", [True], object()])
def test_wrong_type_for_bool_is_a_module_error(function: str, result: object) -> None:
    with pytest.raises(ModuleError, match="not bool"):
        ask(contained(lambda: result), function)


@ANSWERS_BYTES
def test_result_has_a_largest_size(function: str) -> None:
    largest = bytes(MAX_RESULT_BYTES)
    assert ask(contained(lambda: largest), function) == largest
    for larger in (bytes(MAX_RESULT_BYTES + 1), bytearray(MAX_RESULT_BYTES + 1)):
        with pytest.raises(ModuleError, match=str(MAX_RESULT_BYTES)):
            ask(contained(lambda larger=larger: larger), function)


def test_released_view_is_a_module_error() -> None:
    view = memoryview(b"x")
    view.release()
    with pytest.raises(ModuleError, match="unusable"):
        ask(contained(lambda: view), "aggregate_status")


def test_detail_is_short_and_printable() -> None:
    with pytest.raises(ModuleError) as caught:
        ask(contained(raising(ValueError("\x1b[2J\n" * 10_000))), "aggregate_status")
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < MAX_DETAIL_CHARS + 100
    assert clean_detail("a\nb\u202e") == "a?b?"
    assert len(clean_detail("x" * 1000)) == MAX_DETAIL_CHARS


def test_type_names_are_cleaned_too() -> None:
    nasty = type("X\n" * 500, (), {})
    with pytest.raises(ModuleError) as caught:
        ask(contained(nasty), "aggregate_status")
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < MAX_DETAIL_CHARS + 100
