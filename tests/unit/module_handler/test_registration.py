"""What one status makes of one registration: nothing before it is applied."""

from __future__ import annotations

import copy

import pytest

from module_gateway.module_handler.aggregator import Aggregate, Publication
from module_gateway.module_handler.commands import Commands
from module_gateway.module_handler.registration import (
    Registration,
    from_stored,
    to_stored,
    work_out,
    work_out_first,
)
from module_gateway.protocol.errors import ModuleError
from tests.unit.module_handler.rig import device
from tests.unit.module_handler.scripted_module import ScriptedModule

A = device("a")


@pytest.fixture
def module() -> ScriptedModule:
    return ScriptedModule()


def registration(*queued: bytes, is_push_only: bool = False) -> Registration:
    commands = Commands(b"last")
    for command in queued:
        commands.enqueue(command, 3)
    return Registration(A, Aggregate(b"one", 5.0), commands, is_push_only)


def test_working_out_changes_nothing(module: ScriptedModule) -> None:
    made = registration(b"go")
    before = copy.deepcopy(to_stored(made))
    work = work_out(made, module, b"two", now=8.0)
    assert before == to_stored(made)
    assert Publication(b"one,two") == work.apply(8.0)
    stored = to_stored(made)
    assert (b"one,two", b"go", (), b"go") == (
        stored.status,
        stored.commands.last,
        stored.commands.queue,
        stored.commands.in_flight,
    )


def test_a_module_that_fails_in_the_middle_leaves_everything_as_it_was(
    module: ScriptedModule,
) -> None:
    made = registration(b"go")
    before = copy.deepcopy(to_stored(made))
    module.fails.add("generate_command")
    with pytest.raises(ModuleError):
        work_out(made, module, b"two", now=8.0)
    assert before == to_stored(made)


def test_a_push_only_device_with_nothing_queued_costs_no_question(
    module: ScriptedModule,
) -> None:
    work = work_out(registration(is_push_only=True), module, b"two", now=8.0)
    assert (b"", False) == (work.answer, work.is_taken)
    assert [] == module.calls("generate_command")


def test_a_first_status_starts_from_the_first_command(module: ScriptedModule) -> None:
    work = work_out_first(A, module, b"one", None, now=5.0)
    assert (b"first", Publication(b"one")) == (work.answer, work.apply(5.0))
    assert b"one" == work.registration.aggregate.status


def test_a_first_status_after_our_close_goes_on_with_the_parked_commands(
    module: ScriptedModule,
) -> None:
    parked = Commands(b"last")
    parked.enqueue(b"go", 3)
    work = work_out_first(A, module, b"one", parked, now=5.0)
    assert b"go" == work.answer
    assert [] == module.calls("generate_first_command")


def test_the_store_gets_it_and_gives_it_back() -> None:
    made = registration(b"1", b"2")
    made.commands.take(b"1")
    made.aggregate.has_unpublished = True
    again = from_stored(to_stored(made), now=99.0, is_push_only=False)
    assert to_stored(made) == to_stored(again)
    assert 99.0 == again.aggregate.published_at
