from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from module_gateway.control_plane import vehicle as vehicle_module
from module_gateway.control_plane.events import (
    CommandSent,
    CommandState,
    CommandWanted,
    SessionStarted,
    StatusApplied,
    StopWanted,
)
from module_gateway.control_plane.memory_store import MemoryStore
from module_gateway.control_plane.records import CommandRecord, VehicleName
from module_gateway.control_plane.session import Limits
from module_gateway.control_plane.store import StoreLimits
from module_gateway.control_plane.vehicle import Vehicle
from module_gateway.protocol.errors import BusError, StoreError
from module_gateway.protocol.external import (
    Command,
    ConnectResponse,
    DeviceState,
    StatusResponse,
    decode_server_message,
)
from tests.control_plane_script import BUTTON, LAMP, SESSION, connect, status

VAN = VehicleName("acme", "van")


class FailingStore(MemoryStore):
    """Fails the next commit when told to."""

    fails = False
    commits = 0

    async def commit(self, name, changes, at_unix_ms):
        self.commits += 1
        if self.fails:
            self.fails = False
            raise StoreError("disk full")
        await super().commit(name, changes, at_unix_ms)


class Bench:
    """A vehicle at work, and what it published."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.store = FailingStore(StoreLimits())
        self.published: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.changes: list = []
        self.is_broken = False
        self.vehicle = Vehicle(
            VAN,
            limits or Limits(),
            self.store,
            self.publish,
            lambda name, changes, at_unix_ms: self.changes.extend(changes),
        )

    async def publish(self, topic, payload):
        if self.is_broken:
            raise BusError("down")
        self.published.put_nowait((topic, payload))

    async def next(self):
        topic, payload = await asyncio.wait_for(self.published.get(), 30)
        return None if topic.endswith("_disconnect") else decode_server_message(payload)


@asynccontextmanager
async def bench(limits: Limits | None = None):
    made = Bench(limits)
    task = asyncio.create_task(made.vehicle.run())
    yield made
    made.vehicle.post(StopWanted())
    await asyncio.wait_for(task, 30)


async def test_a_session_is_committed_and_answered():
    async with bench() as made:
        made.vehicle.post_message(connect(), 50)
        assert await made.next() == ConnectResponse(SESSION, 0)
        made.vehicle.post_message(status(1, state=DeviceState.CONNECTING, data=b"1"), 50)
        assert await made.next() == StatusResponse(SESSION, 0, 1)
        assert isinstance(await made.next(), Command)
        device = await made.store.device(VAN, BUTTON.identity)
        assert device.last_status.status == b"1"
        assert any(isinstance(change, StatusApplied) for change in made.changes)
    assert await made.next() is None


async def test_what_is_queued_together_is_committed_together():
    async with bench() as made:
        made.vehicle.post_message(connect(), 50)
        made.vehicle.post_message(status(1, state=DeviceState.CONNECTING), 50)
        await made.next()
        assert made.store.commits == 1


async def test_R1_nothing_leaves_a_failed_commit_and_the_gateway_starts_over():
    async with bench() as made:
        made.vehicle.post_message(connect(), 50)
        assert isinstance(await made.next(), ConnectResponse)
        made.store.fails = True
        made.vehicle.post_message(status(1, state=DeviceState.CONNECTING, sequence=5), 50)
        assert await made.next() is None
        made.vehicle.post_message(connect(session_id="again"), 50)
        assert isinstance(await made.next(), ConnectResponse)
        again = status(1, state=DeviceState.CONNECTING, sequence=5, session_id="again")
        made.vehicle.post_message(again, 50)
        assert await made.next() == StatusResponse("again", 0, 1)
        device = await made.store.device(VAN, BUTTON.identity)
        assert (device.statuses, device.repeats) == (1, 0)


async def test_a_timer_ends_the_session():
    async with bench(Limits(step_timeout_s=0.05)) as made:
        made.vehicle.post_message(connect(), 50)
        assert isinstance(await made.next(), ConnectResponse)
        assert await made.next() is None


async def test_a_broken_link_does_not_end_the_vehicle():
    async with bench() as made:
        made.is_broken = True
        made.vehicle.post_message(connect(), 50)
        made.vehicle.post(CommandWanted("c", BUTTON, b"", 0.0))
        made.is_broken = False
        made.vehicle.post_message(connect(session_id="again"), 50)
        assert (await made.next()).session_id in {SESSION, "again"}


async def test_R11_positions_outlive_the_vehicle_object():
    store = None
    async with bench() as made:
        store = made.store
        made.vehicle.post_message(connect(), 50)
        made.vehicle.post_message(status(1, state=DeviceState.CONNECTING, sequence=5), 50)
        await made.next()
    successor = Bench()
    successor.vehicle._store = store
    task = asyncio.create_task(successor.vehicle.run())
    successor.vehicle.post_message(connect(capabilities=("applied",)), 50)
    response = await successor.next()
    assert [position.sequence for _, position in response.applied] == [5]
    successor.vehicle.post(StopWanted())
    await asyncio.wait_for(task, 30)


async def test_room_is_shared_out_within_one_batch():
    made = Bench()
    made.store = MemoryStore(StoreLimits(devices=1))
    made.vehicle._store = made.store
    task = asyncio.create_task(made.vehicle.run())
    made.vehicle.post_message(connect([]), 50)
    made.vehicle.post_message(status(1, BUTTON), 50)
    made.vehicle.post_message(status(2, LAMP), 50)
    made.vehicle.post_message(status(3, BUTTON), 50)
    assert isinstance(await made.next(), ConnectResponse)
    assert [(await made.next()).counter for _ in range(2)] == [1, 3]
    made.vehicle.post(StopWanted())
    await asyncio.wait_for(task, 30)


@pytest.mark.parametrize(("bound", "value"), [("INBOX_MESSAGES", 2), ("INBOX_BYTES", 100)])
def test_the_inbox_is_bounded(bound, value, monkeypatch):
    monkeypatch.setattr(vehicle_module, bound, value)
    made = Bench()
    assert made.vehicle.post_message(connect(), 50)
    assert made.vehicle.post_message(connect(), 50)
    assert not made.vehicle.post_message(connect(), 50)


def posted(command_id: str, *, expires_in_s: float = 60.0) -> CommandRecord:
    now = time.time_ns() // 1_000_000
    expires = now + round(expires_in_s * 1000)
    waiting = CommandState.WAITING
    return CommandRecord(command_id, VAN, BUTTON.identity, b"go", waiting, now, now, expires)


async def state_of(store: MemoryStore, command_id: str) -> CommandState:
    record = await store.command(command_id)
    assert record is not None
    return record.state


async def test_a_command_that_was_never_sent_waits_on_in_the_next_life() -> None:
    made = Bench()
    await made.store.open_vehicle(VAN, 1)
    await made.store.commit(VAN, [SessionStarted("old", (BUTTON,))], 1)
    await made.store.add_command(posted("waits"))
    await made.store.add_command(posted("too late", expires_in_s=-1.0))
    await made.store.add_command(posted("sent"))
    await made.store.commit(VAN, [CommandSent("sent", 4)], 2)
    task = asyncio.create_task(made.vehicle.run())
    made.vehicle.post_message(connect(), 50)
    assert isinstance(await made.next(), ConnectResponse)
    made.vehicle.post_message(status(1, state=DeviceState.CONNECTING), 50)
    assert isinstance(await made.next(), StatusResponse)
    command = await made.next()

    assert isinstance(command, Command)
    assert command.command == b"go"
    assert await state_of(made.store, "waits") is CommandState.SENT
    assert await state_of(made.store, "too late") is CommandState.EXPIRED
    assert await state_of(made.store, "sent") is CommandState.UNANSWERED
    made.vehicle.post(StopWanted())
    await task


async def test_a_command_is_sent_once_though_it_is_posted_and_restored() -> None:
    made = Bench()
    await made.store.open_vehicle(VAN, 1)
    await made.store.commit(VAN, [SessionStarted("old", (BUTTON,))], 1)
    await made.store.add_command(posted("once"))
    task = asyncio.create_task(made.vehicle.run())
    made.vehicle.post_message(connect(), 50)
    assert isinstance(await made.next(), ConnectResponse)
    made.vehicle.post_message(status(1, state=DeviceState.CONNECTING), 50)
    assert isinstance(await made.next(), StatusResponse)
    assert isinstance(await made.next(), Command)
    made.vehicle.post(CommandWanted("once", BUTTON, b"go", asyncio.get_running_loop().time() + 60))
    made.vehicle.post(StopWanted())

    assert await made.next() is None
    await task
