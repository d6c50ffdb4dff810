"""The shell on a memory bus: nothing leaves before its commit, nothing survives a failed one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from module_gateway.bus import batch
from module_gateway.bus.link import Address, Link
from module_gateway.bus.memory import MemoryBroker
from module_gateway.module_handler import metrics
from module_gateway.module_handler.handler import STALL_S, ModuleHandler
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.store import EntryAppended, MemoryStore, Store
from module_gateway.modules.car_accessory import CarAccessoryModule
from module_gateway.modules.containment import ContainedModule
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason, StoreError
from module_gateway.protocol.identity import Device
from module_gateway.protocol.live_digest import RunningDigest
from module_gateway.runtime.health import Progress
from module_gateway.runtime.settings import BusSettings, ModuleHandlerSettings, Settings
from module_gateway.runtime.tasks import start_task, stop_tasks
from tests.stores import FailingStore
from tests.unit.module_handler import rig as speak

NUMBER = speak.MODULE
LIMIT_S = 30.0
PRESSED, RELEASED = b'{"pressed": true}', b'{"pressed": false}'
LIT, DARK = b'{"lit_up": true}', b'{"lit_up": false}'
A = Device.of(NUMBER, 0, "a")

SETTINGS = Settings(
    bus=BusSettings(heartbeat_ms=50, silence_ms=60_000),
    module_handler_settings=ModuleHandlerSettings(probe_window_ms=50),
)


class Peer:
    """Another process, for which a test speaks."""

    def __init__(self, broker: MemoryBroker, kind: int) -> None:
        self.link = Link(broker.bus(), kind, SETTINGS.bus, self)
        self.handlers: asyncio.Queue[Address] = asyncio.Queue()
        self.presence = bus_pb2.Presence()
        self.heard: asyncio.Queue[bus_pb2.Message] = asyncio.Queue()
        self.handler = Address(bus_pb2.MODULE_HANDLER, 1)

    def link_up(self) -> None: ...

    def link_down(self, reason: str) -> None: ...

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        if peer.kind == bus_pb2.MODULE_HANDLER:
            self.handler, self.presence = peer, presence
            self.handlers.put_nowait(peer)

    def peer_lost(self, peer: Address) -> None: ...

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        for message in messages:
            self.heard.put_nowait(message)

    def say(self, *messages: bus_pb2.Message) -> None:
        for message in messages:
            assert self.link.send(self.handler, message)

    async def expect(self, kind: str) -> Any:
        """The next message of a kind; others are skipped."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                message = await self.heard.get()
                if message.WhichOneof("body") == kind:
                    return getattr(message, kind)


class Stage:
    """A handler and its peers on one memory bus."""

    def __init__(self, settings: Settings, store: Store | None) -> None:
        self.broker = MemoryBroker()
        self.store = FailingStore(MemoryStore() if store is None else store)
        self.health: dict[str, bool] = {}
        module = ContainedModule(CarAccessoryModule(), NUMBER)
        self.moment = 0.0
        self.progress = Progress(lambda: self.moment)
        self.handler = ModuleHandler(
            settings,
            {NUMBER: module},
            self.broker.bus(),
            self.store,
            self._health_changed,
            progress=self.progress,
        )
        self.server = Peer(self.broker, bus_pb2.INTERNAL_SERVER)
        self.client = Peer(self.broker, bus_pb2.EXTERNAL_CLIENT)
        self.stop = asyncio.Event()

    def _health_changed(self, name: str, is_ok: bool, detail: str) -> None:
        self.health[name] = is_ok

    async def register(self, payload: bytes = PRESSED, instance: int = 1) -> None:
        self.server.say(speak.connect(instance, A))
        await self.server.expect("connect_verdict")
        self.server.say(speak.status(instance, 1, payload))
        await self.server.expect("status_reply")

    async def lease(self) -> None:
        self.client.say(speak.lease())
        await self.client.expect("snapshot")


@asynccontextmanager
async def staged(settings: Settings = SETTINGS, store: Store | None = None) -> AsyncIterator[Stage]:
    stage = Stage(settings, store)
    tasks = [
        start_task(stage.handler.run(stage.stop), "handler"),
        start_task(stage.server.link.run(), "server"),
        start_task(stage.client.link.run(), "client"),
    ]
    try:
        async with asyncio.timeout(LIMIT_S):
            await stage.handler.ready()
            await stage.server.handlers.get()
            await stage.client.handlers.get()
        yield stage
        stage.stop.set()
        async with asyncio.timeout(LIMIT_S):
            await tasks[0]
    finally:
        await stop_tasks(tasks)


def dropped(reason: Reason) -> float:
    return float(metrics.DROPPED.labels(reason)._value.get())


async def test_a_device_connects_and_gets_the_command_that_its_status_asks_for() -> None:
    async with staged() as stage:
        stage.server.say(speak.connect(1, A))
        verdict = await stage.server.expect("connect_verdict")
        assert (1, 0) == (verdict.instance, verdict.response)
        stage.server.say(speak.status(1, 1, PRESSED), speak.status(1, 2, RELEASED))
        replies = [await stage.server.expect("status_reply") for _ in range(2)]
        assert [(1, LIT), (2, DARK)] == [(each.sequence, each.command) for each in replies]


async def test_presence_says_which_partitions_of_which_modules_it_owns() -> None:
    own = SETTINGS.module_handler_settings.model_copy(update={"partitions": "0,2-3"})
    async with staged(SETTINGS.model_copy(update={"module_handler_settings": own})) as stage:
        assert [(NUMBER, 0b1101)] == [
            (served.module, served.partitions) for served in stage.server.presence.served
        ]


def test_only_chosen_modules_are_served() -> None:
    modules = {n: ContainedModule(CarAccessoryModule(), n) for n in (1, 2, 3)}
    own = SETTINGS.module_handler_settings.model_copy(update={"modules": (1, 3)})
    settings = SETTINGS.model_copy(update={"module_handler_settings": own})
    handler = ModuleHandler(settings, modules, MemoryBroker().bus())
    assert [1, 3] == [served.module for served in handler._presence().served]


async def test_R1_no_reply_before_its_commit() -> None:
    async with staged() as stage:
        await stage.register()
        stage.store.gate.clear()
        stage.store.waiting.clear()
        stage.server.say(speak.status(1, 2, RELEASED))
        await stage.store.waiting.wait()
        await stage.server.link.drain()
        assert stage.server.heard.empty()
        stage.store.gate.set()
        assert 2 == (await stage.server.expect("status_reply")).sequence


async def test_R1_what_arrives_during_a_commit_shares_the_next_one() -> None:
    async with staged() as stage:
        await stage.register()
        stage.store.gate.clear()
        stage.store.waiting.clear()
        stage.server.say(speak.status(1, 2, RELEASED))
        await stage.store.waiting.wait()
        commits = len(stage.store.commits)
        for sequence in range(3, 13):
            stage.server.say(speak.status(1, sequence, RELEASED))
        await stage.server.link.drain()
        while stage.handler._inbox.messages < 10:
            await asyncio.sleep(0)
        stage.store.gate.set()
        replies = [await stage.server.expect("status_reply") for _ in range(11)]
        assert list(range(2, 13)) == [reply.sequence for reply in replies]
        assert commits + 1 == len(stage.store.commits)


@pytest.mark.parametrize("fault", ["fails_commits", "loses_answers"])
async def test_R1_a_failed_commit_drops_its_effects_and_loads_the_state_again(
    fault: str,
) -> None:
    async with staged() as stage:
        await stage.register()
        before = dropped(Reason.STORE_FAILED)
        setattr(stage.store, fault, 1)
        stage.server.say(speak.status(1, 2, RELEASED))
        assert await stage.server.expect("live_connections_request") is not None
        assert before < dropped(Reason.STORE_FAILED)
        stage.server.say(speak.live((1, A, 2)))
        stage.server.say(speak.status(1, 3, PRESSED))
        assert 3 == (await stage.server.expect("status_reply")).sequence
        assert stage.health["store"]


async def test_a_commit_that_does_not_end_is_no_progress() -> None:
    async with staged() as stage:
        await stage.register()
        while stage.handler._turns.age_s() or stage.handler._inbox:
            await asyncio.sleep(0)
        stage.moment += 1000.0
        assert stage.progress.stalled() == ""
        stage.store.gate.clear()
        stage.store.waiting.clear()
        stage.server.say(speak.status(1, 2, RELEASED))
        await stage.store.waiting.wait()
        stage.moment += STALL_S + 1
        assert stage.progress.stalled() == "turns of the core and commits for 31 s"
        stage.store.gate.set()
        await stage.server.expect("status_reply")
        while stage.progress.stalled():
            await asyncio.sleep(0)


async def test_a_store_that_fails_again_and_again_has_not_hung() -> None:
    async with staged() as stage:
        await stage.register()
        stage.store.fails_commits, stage.store.fails_loads = 1, 3
        stage.server.say(speak.status(1, 2, RELEASED))
        for left in (2, 1, 0):
            while stage.store.fails_loads > left:
                await asyncio.sleep(0.005)
            stage.moment += STALL_S * 0.8  # between two attempts
            assert stage.progress.stalled() == ""
        assert await stage.server.expect("live_connections_request") is not None


async def test_a_store_that_cannot_be_loaded_again_is_asked_until_it_can() -> None:
    async with staged() as stage:
        await stage.register()
        stage.store.fails_commits, stage.store.fails_loads = 1, 2
        stage.server.say(speak.status(1, 2, RELEASED))
        assert await stage.server.expect("live_connections_request") is not None
        assert stage.health["store"]


async def test_D4_while_a_store_cannot_be_written_nobody_is_answered_and_it_resumes_by_itself() -> (
    None
):
    async with staged() as stage:
        await stage.register()
        assert stage.health["store"]
        stage.store.fails_commits = 4
        stage.store.commits.clear()
        stage.server.say(speak.status(1, 2, RELEASED))
        while len(stage.store.commits) < 4:
            await asyncio.sleep(0.01)
            assert not (stage.store.commits and stage.health["store"])
        assert await stage.server.expect("live_connections_request") is not None
        assert stage.server.heard.empty()
        assert stage.health["store"]
        stage.server.say(speak.live((1, A, 2)), speak.status(1, 3, PRESSED))
        assert 3 == (await stage.server.expect("status_reply")).sequence


async def test_R2_a_failed_commit_costs_nobody_his_connection_who_was_not_in_it() -> None:
    async with staged() as stage:
        await stage.register()
        for sequence in range(2, 6):
            stage.server.say(speak.status(1, sequence, PRESSED))
            await stage.server.expect("status_reply")
        stage.store.fails_commits = 1
        stage.server.say(speak.connect(2, Device.of(NUMBER, 0, "b")))
        await stage.server.expect("live_connections_request")
        stage.server.say(speak.status(1, 6, PRESSED))
        assert 6 == (await stage.server.expect("status_reply")).sequence


async def test_the_client_of_a_failed_turn_is_told_by_a_gap() -> None:
    async with staged() as stage:
        await stage.register()
        await stage.lease()
        assert 1 == (await stage.client.expect("delivery")).delivery
        stage.store.fails_commits = 1
        stage.server.say(speak.status(1, 2, RELEASED))
        delivery = await stage.client.expect("delivery")
        assert (1, True) == (delivery.sequence, delivery.delivery > 2)


async def test_what_cannot_be_read_is_as_bad_as_what_cannot_be_committed() -> None:
    async with staged() as stage:
        await stage.register()
        stage.store.fails_reads = 1
        await stage.lease()
        assert await stage.server.expect("live_connections_request") is not None
        delivery = await stage.client.expect("delivery")
        assert (1, True) == (delivery.sequence, delivery.delivery > 1)
        assert stage.health["store"]


async def test_R1_what_is_read_is_committed() -> None:
    async with staged() as stage:
        await stage.register()
        stage.store.gate.clear()
        stage.store.waiting.clear()
        stage.server.say(speak.status(1, 2, RELEASED))
        await stage.store.waiting.wait()
        stage.store.waiting.clear()
        stage.server.say(speak.status(1, 3, PRESSED))
        await stage.server.link.drain()
        stage.client.say(speak.lease())
        while stage.handler._inbox.messages < 2:
            await asyncio.sleep(0)
        stage.store.gate.set()  # for one commit; the next one has the entry and its reader
        stage.store.gate.clear()
        await stage.store.waiting.wait()
        await stage.client.link.drain()
        assert stage.client.heard.empty()
        stage.store.gate.set()
        deliveries = [await stage.client.expect("delivery") for _ in range(3)]
        assert [1, 2, 3] == [each.sequence for each in deliveries]


async def test_what_arrives_while_an_old_backlog_is_read_comes_behind_it() -> None:
    store = MemoryStore()
    entries = [Entry(number, A, PRESSED) for number in range(1, 2_001)]
    await store.commit([EntryAppended(entry) for entry in entries])
    async with staged(store=store) as stage:
        await stage.lease()
        await stage.register(RELEASED)
        numbers = []
        for _ in range(2_001):
            delivery = await stage.client.expect("delivery")
            numbers.append(delivery.sequence)
            stage.client.say(speak.receipt(delivery.delivery))
        assert list(range(1, 2_002)) == numbers


async def test_a_handler_whose_state_cannot_be_loaded_does_not_start() -> None:
    stage = Stage(SETTINGS, None)
    stage.store.fails_loads = 1
    with pytest.raises(StoreError):
        await stage.handler.run(stage.stop)
    assert not stage.handler.started.is_set()


async def test_a_probe_that_nobody_answers_ends_by_the_clock() -> None:
    async with staged() as stage:
        await stage.register()
        stage.server.say(speak.connect(2, A))
        assert 1 == (await stage.server.expect("probe")).instance
        assert 1 == (await stage.server.expect("close_connection")).instance
        assert 2 == (await stage.server.expect("connect_verdict")).instance


async def test_R5_a_proof_that_waited_while_the_handler_stood_still_counts() -> None:
    async with staged() as stage:
        await stage.register()
        stage.server.say(speak.connect(2, A))
        await stage.server.expect("probe")
        time.sleep(0.2)  # the whole process stands still, far beyond the window
        loop = asyncio.get_running_loop()
        loop.call_later(0.002, stage.server.say, speak.probe_answer(1))  # and then reads its socket
        verdict = await stage.server.expect("connect_verdict")
        assert (2, 1) == (verdict.instance, verdict.response)


async def test_statuses_reach_the_client_and_commands_come_back() -> None:
    async with staged() as stage:
        await stage.lease()
        await stage.register()
        delivery = await stage.client.expect("delivery")
        assert (1, PRESSED) == (delivery.sequence, delivery.status)
        stage.client.say(speak.forward(A, DARK))
        assert 0 == (await stage.client.expect("command_verdict")).response
        stage.server.say(speak.status(1, 2, PRESSED))
        assert DARK == (await stage.server.expect("status_reply")).command


async def test_a_bus_outage_makes_both_sides_compare_notes() -> None:
    async with staged() as stage:
        await stage.register()
        stage.broker.stop()
        stage.broker.start()
        assert await stage.server.expect("live_connections_request") is not None
        digest = RunningDigest()
        digest.add(1)
        while not stage.server.link.is_up:
            await asyncio.sleep(0)
        stage.server.say(speak.live((1, A, 1)), speak.status(1, 2, RELEASED))
        assert 2 == (await stage.server.expect("status_reply")).sequence
        assert stage.health["bus"]


async def test_a_second_life_goes_on_where_the_first_one_left_off() -> None:
    store = MemoryStore()
    async with staged(store=store) as stage:
        await stage.register()
    async with staged(store=store) as stage:
        await stage.lease()
        assert (1, PRESSED) == (
            (delivery := await stage.client.expect("delivery")).sequence,
            delivery.status,
        )


async def test_stop_finishes_what_has_arrived() -> None:
    async with staged() as stage:
        await stage.register()
        stage.store.gate.clear()
        stage.store.waiting.clear()
        stage.server.say(speak.status(1, 2, RELEASED))
        await stage.store.waiting.wait()
        stage.stop.set()
        stage.store.gate.set()
        assert 2 == (await stage.server.expect("status_reply")).sequence


async def test_messages_beyond_the_inbox_are_counted() -> None:
    before = dropped(Reason.QUEUE_FULL)
    async with staged() as stage:
        handler = stage.handler
        too_many = [speak.status(1, 1, b"")] * 50_001
        handler.received(stage.server.link.address, too_many)
        await stage.register()
    assert before + 50_001 == dropped(Reason.QUEUE_FULL)


async def test_answers_leave_before_anything_is_written_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []

    class Recorder:
        def __getattr__(self, _level: str) -> Callable[..., None]:
            return lambda *words, **_fields: order.extend(map(str, words))

    monkeypatch.setattr("module_gateway.module_handler.handler._log", Recorder())

    def overhear(_topic: str, payload: bytes) -> bool:
        order.extend(message.WhichOneof("body") or "" for message in batch.decode(payload)[1])
        return False

    async with staged() as stage:
        stage.broker.loses = overhear
        stage.server.say(speak.connect(1, A))
        await stage.server.expect("connect_verdict")
        while "device_connected" not in order:
            await asyncio.sleep(0)
    assert order.index("connect_verdict") < order.index("device_connected")


async def test_peer_text_is_cleaned_before_it_is_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[tuple[str, dict[str, object]]] = []

    class Recorder:
        def __getattr__(self, _level: str) -> Callable[..., None]:
            return lambda event, **fields: lines.append((event, fields))

        def log(self, _level: int, event: str, **fields: object) -> None:
            lines.append((event, fields))

    monkeypatch.setattr("module_gateway.module_handler.handler._log", Recorder())
    async with staged() as stage:
        evil = Device.of(NUMBER, 0, "a\n\x1b[31mred")
        stage.server.say(speak.connect(1, evil))
        await stage.server.expect("connect_verdict")
    (fields,) = [fields for event, fields in lines if event == "device_connected"]
    assert str(fields["device"]).isprintable()
