from __future__ import annotations

import asyncio
import json

import pytest

from module_gateway.control_plane import metrics
from module_gateway.control_plane.events import CommandState, SessionStarted
from module_gateway.control_plane.memory_store import MemoryStore
from module_gateway.control_plane.records import VehicleName
from module_gateway.control_plane.server import (
    MESSAGE_BYTES,
    SUBSCRIPTION,
    CommandRefusedError,
    UnknownDeviceError,
    session_limits,
    store_limits,
    vehicle_names,
)
from module_gateway.control_plane.store import StoreFullError, StoreLimits
from module_gateway.modules.car_accessory import CarAccessoryModule
from module_gateway.modules.containment import ContainedModule
from module_gateway.protocol.errors import ConfigError, Reason
from module_gateway.protocol.external import (
    Command,
    CommandResponse,
    ConnectResponse,
    DeviceState,
    StatusResponse,
)
from module_gateway.protocol.identity import Device
from module_gateway.runtime.settings import ControlPlaneSettings
from tests.control_plane_link import running
from tests.control_plane_script import BUTTON, LAMP, SESSION, connect, status

NAME = VehicleName("acme", "van")


def drops(reason: Reason) -> float:
    return metrics.DROPPED.labels(reason=reason)._value.get()


async def test_all_vehicles_are_subscribed():
    async with running() as (_, link):
        assert link.topics == (SUBSCRIPTION,)


async def test_a_session_runs_over_the_link():
    async with running() as (control_plane, link):
        await link.run_sequence()
        link.receive(status(2, data=b"17"))
        assert await link.next() == StatusResponse(SESSION, 0, 2)
        device = await control_plane.store.device(NAME, BUTTON.identity)
        assert device.last_status.status == b"17"


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("UPPER/van/module_gateway", b"", Reason.TOPIC_FORM),
        ("a/b/c/module_gateway", b"", Reason.TOPIC_FORM),
        ("/van/module_gateway", b"", Reason.TOPIC_FORM),
        ("acme/van/module_gateway", b"\xff\xff", Reason.UNDECODABLE),
        ("acme/van/module_gateway", b"", Reason.NO_MESSAGE),
        ("acme/van/module_gateway", b"x" * (MESSAGE_BYTES + 1), Reason.FRAME_TOO_LARGE),
    ],
)
async def test_bad_input_is_counted_and_makes_no_vehicle(topic, payload, reason):
    async with running() as (control_plane, link):
        before = drops(reason)
        link.listener.bus_message(topic, payload)
        assert drops(reason) == before + 1
        assert await control_plane.store.vehicles() == []


async def test_vehicles_are_bounded():
    async with running(max_vehicles=1) as (_, link):
        await link.run_sequence()
        before = drops(Reason.TOO_MANY_VEHICLES)
        link.receive(connect(), "acme/bus")
        assert drops(Reason.TOO_MANY_VEHICLES) == before + 1
        link.receive(status(2))
        assert await link.next() == StatusResponse(SESSION, 0, 2)


async def test_a_vehicle_whose_messages_do_not_get_through_delays_no_other():
    async with running() as (_, link):
        held = link.holds["acme/stuck/external_server"] = asyncio.Event()
        link.receive(connect(), "acme/stuck")
        await link.run_sequence()
        link.receive(status(2))
        assert await link.next() == StatusResponse(SESSION, 0, 2)
        held.set()
        assert isinstance(await link.next("acme/stuck"), ConnectResponse)
    assert {topic for topic, _ in [link.sent.get_nowait(), link.sent.get_nowait()]} == {
        "acme/stuck/external_server_disconnect",
        "acme/van/external_server_disconnect",
    }


async def test_an_unknown_session_is_answered_by_the_notification():
    async with running() as (_, link):
        link.receive(status(17))
        assert await link.next() is None


async def test_a_lost_broker_ends_sessions_and_the_next_connection_notifies():
    async with running() as (control_plane, link):
        await link.run_sequence()
        link.go_down()
        assert not control_plane.is_link_up
        link.go_up()
        assert await link.next() is None
        vehicle = await control_plane.store.vehicle(NAME)
        assert (vehicle.session_id, vehicle.end_reason) == (None, "broker_lost")


async def test_whoever_asked_is_told_of_the_link():
    heard = []
    async with running() as (control_plane, link):
        control_plane._on_link = lambda is_up, reason: heard.append((is_up, reason))
        link.go_down()
        link.go_up()
    assert heard == [(False, "cut"), (True, "")]


async def test_a_posted_command_reaches_its_device_and_its_outcome_is_kept():
    async with running() as (control_plane, link):
        await link.run_sequence()
        record = await control_plane.post_command(NAME, BUTTON.identity, b"go", 30)
        assert record.state is CommandState.WAITING
        command = await link.next()
        assert isinstance(command, Command)
        assert (command.command, command.device.identity) == (b"go", BUTTON.identity)
        link.receive(CommandResponse(SESSION, 3, command.counter))
        link.receive(status(2))
        await link.next()
        record = await control_plane.store.command(record.command_id)
        assert (record.state, record.response) == (CommandState.INVALID_COMMAND, 3)


async def test_a_command_for_an_unknown_device_is_refused():
    async with running() as (control_plane, link):
        with pytest.raises(UnknownDeviceError):
            await control_plane.post_command(NAME, BUTTON.identity, b"go", 30)
        await link.run_sequence()
        with pytest.raises(UnknownDeviceError):
            await control_plane.post_command(NAME, LAMP.identity, b"go", 30)


async def test_waiting_commands_are_bounded():
    async with running(commands_waiting=1) as (control_plane, link):
        await link.run_sequence()
        link.receive(status(2, state=DeviceState.DISCONNECT))
        await link.next()
        await control_plane.post_command(NAME, BUTTON.identity, b"go", 30)
        with pytest.raises(StoreFullError):
            await control_plane.post_command(NAME, BUTTON.identity, b"go", 30)


class Broken(CarAccessoryModule):
    def command_data_valid(self, command, device_type):
        raise ZeroDivisionError("oops")


@pytest.mark.parametrize(
    ("module", "command", "sentence"),
    [
        (CarAccessoryModule(), b"nonsense", "does not accept this command for device type 0: Inv"),
        (CarAccessoryModule(), b'{"lit_up": 7}', "type 0: lit_up: Input should be a valid boolean"),
        (Broken(), b"{}", "raised ZeroDivisionError"),
    ],
)
async def test_a_configured_module_checks_the_command(module, command, sentence):
    accessory = Device.of(1001, 0, "left")
    async with running({1001: ContainedModule(module)}) as (control_plane, link):
        link.receive(connect([accessory]))
        await link.next()
        link.receive(status(1, accessory))
        await link.next()
        with pytest.raises(CommandRefusedError, match=sentence):
            await control_plane.post_command(NAME, accessory.identity, command, 30)
        await control_plane.post_command(NAME, accessory.identity, b"", 30)


async def test_listeners_hear_of_statuses():
    async with running() as (control_plane, link):
        listener = control_plane.feed.listen()
        await link.run_sequence()
        kinds = [await listener.next(5) for _ in range(3)]
        assert [news.kind for news in kinds] == ["session", "status", "session"]
        content = json.loads(kinds[1].content)
        assert (content["vehicle"], content["role"]) == ("van", "left_button")


async def test_stop_notifies_every_vehicle_with_a_session():
    async with running() as (_, link):
        await link.run_sequence()
        await link.run_sequence("acme/bus")
        link.receive(status(2))
        await link.next()
    assert {link.sent.get_nowait()[0] for _ in range(2)} == {
        "acme/van/external_server_disconnect",
        "acme/bus/external_server_disconnect",
    }
    assert link.sent.empty()


def test_settings_become_limits():
    settings = ControlPlaneSettings(
        step_timeout_ms=1500,
        session_timeout_ms=20_000,
        early_statuses=3,
        command_window=2,
        max_vehicles=4,
        max_devices=5,
        history_statuses=6,
        history_bytes=2048,
        history_total_bytes=4096,
        commands_waiting=7,
    )
    session, store = session_limits(settings), store_limits(settings)
    assert (session.step_timeout_s, session.session_timeout_s) == (1.5, 20.0)
    assert (session.early_statuses, session.command_window) == (3, 2)
    assert (store.vehicles, store.devices, store.history_statuses) == (4, 5, 6)
    assert (store.history_bytes, store.history_total_bytes, store.commands_waiting) == (
        2048,
        4096,
        7,
    )


async def test_every_vehicle_that_is_known_is_told_of_a_start_once():
    store = MemoryStore(StoreLimits())
    await store.open_vehicle(NAME, 1)
    await store.open_vehicle(VehicleName("acme", "bus"), 1)
    async with running(store=store) as (_, link):
        told = {(await asyncio.wait_for(link.sent.get(), 5))[0] for _ in range(2)}
        assert told == {f"acme/{vehicle}/external_server_disconnect" for vehicle in ("bus", "van")}
        link.go_down()
        link.go_up()
        link.receive(connect())
        assert isinstance(await link.next(), ConnectResponse)


async def test_a_store_that_knows_no_vehicle_notifies_nobody():
    async with running() as (_, link):
        link.receive(connect())
        assert isinstance(await link.next(), ConnectResponse)


async def test_sessions_of_an_earlier_life_are_ended_with_a_notification():
    store = MemoryStore(StoreLimits())
    await store.open_vehicle(NAME, 1)
    await store.commit(NAME, [SessionStarted("old", (BUTTON,))], 1)
    async with running(store=store) as (_, link):
        assert await link.next() is None
        vehicle = await store.vehicle(NAME)
        assert (vehicle.session_id, vehicle.end_reason) == (None, "shutdown")
        await link.run_sequence()


class SpiedModule:
    """Declares no shape of its payloads, and notes whatever else it is asked for."""

    status_payload = command_payload = None

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str):
        self.asked.append(name)
        raise AssertionError(f"a module was asked for {name}")


async def test_R18_a_command_is_never_computed_from_a_replayed_status():
    module = SpiedModule()
    async with running({BUTTON.identity.module: module}) as (control_plane, link):
        listener = control_plane.feed.listen()
        await link.run_sequence()
        for counter in range(2, 8):
            is_live = counter % 2 == 0
            link.receive(
                status(counter, sequence=counter, is_replayed=not is_live, is_live=is_live)
            )
            assert await link.next() == StatusResponse(SESSION, 0, counter)
        assert link.sent.empty()
        news = [await listener.next(5) for _ in range(9)]
        device = await control_plane.store.device(NAME, BUTTON.identity)
    assert (device.statuses, device.replayed, module.asked) == (7, 3, [])
    assert "command" not in {one.kind for one in news}


async def test_only_configured_vehicles_are_served_without_auto_register() -> None:
    store = MemoryStore(StoreLimits())
    async with running(store=store, vehicles=("acme/bus",), auto_register=False) as (_, link):
        before = drops(Reason.UNKNOWN_VEHICLE)
        link.receive(connect())
        assert drops(Reason.UNKNOWN_VEHICLE) == before + 1
        link.receive(connect(), "acme/bus")
        assert isinstance(await link.next("acme/bus"), ConnectResponse)
        assert [str(record.name) for record in await store.vehicles()] == ["acme/bus"]


@pytest.mark.parametrize("text", ["acme", "acme/", "ACME/van", "a/b/c", "/van"])
def test_a_vehicle_name_of_a_wrong_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="company/vehicle"):
        vehicle_names([text])
