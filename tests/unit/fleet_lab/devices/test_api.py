from __future__ import annotations

import asyncio
import json

import pytest

from fleet_lab.devices.api import Device, Periodic, State, UnknownCommandError, command, every
from fleet_lab.devices.generators import Stream
from fleet_lab.errors import LabError


class Thermometer(Device):
    celsius = State(20.0)
    history = State[list[float]]([])

    @every("250ms")
    def measure(self) -> None:
        self.celsius += self.rng.uniform(-0.5, 0.5)
        self.history.append(self.celsius)

    @command
    def reset(self, to: float = 20.0) -> None:
        self.celsius = to


class Heard(Device):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.said: list[object] = []

    def on_start(self) -> None:
        self.said.append("start")

    def on_stop(self) -> None:
        self.said.append("stop")

    def on_connect(self) -> None:
        self.said.append("connect")

    def on_disconnect(self, reason: str) -> None:
        self.said.append(reason)

    def on_command(self, payload: bytes) -> None:
        self.said.append(payload)

    def on_error(self, error: Exception) -> None:
        self.said.append(str(error))


def sent_by(device: Device) -> list[tuple[int, bytes]]:
    sent: list[tuple[int, bytes]] = []
    device.attach(lambda number, payload: sent.append((number, payload)))
    return sent


def test_declared_state_has_defaults_of_its_own_per_device() -> None:
    first, second = Thermometer("a"), Thermometer("b")
    first.measure()
    assert (len(first.history), second.history, second.celsius) == (1, [], 20.0)
    assert second.sample() == {"celsius": 20.0, "history": []}
    assert isinstance(Thermometer.celsius, State)


def test_periods_and_commands_are_found_also_in_subclasses() -> None:
    class Better(Thermometer):
        @every(2)
        def report_it(self) -> None: ...

    assert Thermometer.periodic == (Periodic("measure", 0.25),)
    assert set(Better.periodic) == {Periodic("measure", 0.25), Periodic("report_it", 2.0)}
    assert Better.commands == {"reset"}
    assert Better("x").sample() == {"celsius": 20.0, "history": []}


@pytest.mark.parametrize("period", ["1", "soon", "0s", 0, -1.0, float("inf"), float("nan")])
def test_a_bad_period_is_said_when_the_class_is_made(period: str | float) -> None:
    with pytest.raises(LabError, match=r"^@every: ") as caught:
        every(period)
    assert caught.value.exit_code == 78


def test_reports_are_numbered_and_carry_the_id() -> None:
    device = Thermometer("cars/1")
    sent = sent_by(device)
    assert [device.report({"a": "č"}), device.report({}), device.report(b"raw")] == [1, 2, 3]
    assert [number for number, _ in sent] == [1, 2, 3]
    assert json.loads(sent[0][1]) == {"a": "č", "id": "cars/1", "n": 1}
    assert json.loads(sent[1][1]) == {"id": "cars/1", "n": 2}
    assert sent[2][1] == b"raw"


def test_a_device_without_numbers_sends_what_it_was_given() -> None:
    device = Thermometer("a")
    device.numbered = False
    sent = sent_by(device)
    device.report({"pressed": True})
    assert sent == [(1, b'{"pressed": true}')]


def test_a_sample_is_reported_and_a_bad_one_is_an_error() -> None:
    class Bad(Device):
        def sample(self) -> dict[str, object]:
            return {"x": object()}

    good, bad = Thermometer("a"), Bad("b")
    sent = sent_by(good)
    assert (good.report_sample(), bad.report_sample(), bad.errors) == (1, 0, 1)
    assert json.loads(sent[0][1])["celsius"] == 20.0
    assert bad.last_error.startswith("TypeError: ")


def test_identity_comes_from_class_options_and_id() -> None:
    class Car(Device):
        module = 1
        name = "car"

    car = Car("Cars/3", None, {"priority": 2, "device_type": 7, "speed": 3})
    assert (car.module, car.device_type, car.role, car.name, car.priority) == (
        1, 7, "cars_3", "car", 2,
    )  # fmt: skip
    assert Device("a", None, {"role": "r"}).name == "r"


@pytest.mark.parametrize(
    ("key", "value"), [("priority", -1), ("module", "1"), ("role", 3), ("device_type", True)]
)
def test_a_bad_option_is_one_line(key: str, value: object) -> None:
    with pytest.raises(LabError, match=rf"^device a: option '{key}' is .*; expected [^\n]+$"):
        Device("a", None, {key: value})


def test_the_hooks_are_called() -> None:
    device = Heard("a")
    device.started()
    device.connected()
    device.disconnected("gone")
    device.commanded(b"x")
    device.stopped()
    assert device.said == ["start", "connect", "gone", b"x", "stop"]


def test_a_command_calls_its_method_with_its_arguments() -> None:
    device = Thermometer("a")
    device.commanded(b'{"command": "reset", "to": 3.5}')
    assert device.celsius == 3.5
    device.commanded(b'{"command": "reset"}')
    assert (device.celsius, device.errors) == (20.0, 0)


def test_an_unknown_command_is_an_error_with_the_nearest_name() -> None:
    device = Thermometer("a")
    device.commanded(b'{"command": "rest"}')
    assert (device.errors, device.last_error) == (
        1, "UnknownCommandError: no command 'rest'; did you mean 'reset'?",
    )  # fmt: skip
    with pytest.raises(UnknownCommandError):
        device.on_command(b'{"command": "measure"}')


@pytest.mark.parametrize("payload", [b'{"command": "reset", "at": 1}', b'{"command": "sample"}'])
def test_a_command_that_does_not_fit_is_an_error(payload: bytes) -> None:
    device = Thermometer("a")
    device.commanded(payload)
    assert device.errors == 1


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b'"default_command"', b"[]", b'{"command": 3}', b"[" * 5000]
)
def test_what_names_no_command_is_left_alone(payload: bytes) -> None:
    device = Thermometer("a")
    device.commanded(payload)
    assert device.errors == 0


def test_a_repeated_answer_is_heard_once_unless_wanted() -> None:
    device = Heard("a")
    for payload in (b"x", b"x", b"", b"y"):
        device.answered(payload)
    device.connected()
    device.answered(b"y")
    assert device.said == [b"x", b"y", "connect", b"y"]
    device.hears_repeats = True
    device.answered(b"y")
    assert device.said[-1] == b"y"
    assert len(device.said) == 5


def test_an_error_in_one_call_is_told_and_ends_nothing() -> None:
    class Bad(Heard):
        @every("1s")
        def tick(self) -> None:
            raise RuntimeError("no sensor")

        def on_error(self, error: Exception) -> None:
            super().on_error(error)
            raise ValueError("not even here")

    device = Bad("a")
    device.due("tick")
    device.due("tick")
    assert device.said == ["no sensor", "no sensor"]
    assert (device.errors, device.last_error) == (4, "RuntimeError: no sensor")


async def test_async_methods_run_as_tasks_and_do_not_overlap_themselves() -> None:
    class Slow(Device):
        runs = State(0)

        @every("1s")
        async def tick(self) -> None:
            self.runs += 1
            await release.wait()
            raise RuntimeError("late")

    release = asyncio.Event()
    device, told = Slow("a"), asyncio.Event()
    device.on_error = lambda error: told.set()  # type: ignore[method-assign]
    device.due("tick")
    await asyncio.sleep(0)
    device.due("tick")
    assert device.runs == 1
    release.set()
    await asyncio.wait_for(told.wait(), 30)
    assert device.last_error == "RuntimeError: late"
    await asyncio.sleep(0)
    device.due("tick")
    await asyncio.sleep(0)
    assert device.runs == 2


async def test_settling_cancels_what_still_runs() -> None:
    cancelled = []

    class Endless(Device):
        async def on_start(self) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(self.id)
                raise

    device = Endless("a")
    device.started()
    await asyncio.sleep(0)
    await device.settle()
    assert (cancelled, device.errors) == (["a"], 0)
    await Device("b").settle()


def test_telemetry_is_state_and_counters() -> None:
    device = Thermometer("a", Stream(1))
    device.report({"x": 1})
    assert device.telemetry() == {
        "id": "a", "state": {"celsius": 20.0, "history": []}, "attempts": 1, "errors": 0,
        "last_error": "", "last_status": '{"x": 1, "id": "a", "n": 1}',
    }  # fmt: skip
