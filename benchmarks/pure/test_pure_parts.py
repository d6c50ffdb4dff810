"""What the pure parts cost by themselves: decode, session step, aggregate, commit.

    .venv/bin/python -m pytest benchmarks/pure --benchmark-columns=min,median,ops

No loop, no socket, no broker. Each test does the same work many times; `min` is the figure that a
busy machine disturbs least.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from module_gateway.internal_server import events as ev
from module_gateway.internal_server.rules import SessionRules
from module_gateway.internal_server.session import DeviceSession, State
from module_gateway.module_handler.aggregator import merge_status, register
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.records import StoreNamed
from module_gateway.module_handler.store import (
    CommandsStored,
    DeviceStored,
    EntryAppended,
    RegistrationStored,
)
from module_gateway.module_handler.store_schema import connect, prepare
from module_gateway.module_handler.store_writer import CEILING_STEP, StoreWriter
from module_gateway.modules.car_accessory import CarAccessoryModule
from module_gateway.modules.containment import ContainedModule
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import decode_client_message, encode_connect, encode_status

Benchmark = Callable[..., Any]
DEVICE = Device.of(1001, 0, "d000042", "d000042")
STATUSES = tuple(
    f'{{"pressed": {flag}, "n": {number:10}, "salt": "{"x" * 38}"}}'.encode()
    for number, flag in enumerate(("true ", "false"))
)
FRAME = encode_status(DEVICE, STATUSES[0])
BATCH = 100


def test_decode_a_frame(benchmark: Benchmark) -> None:
    decoder = FrameDecoder()

    def decode() -> object:
        decoder.receive(FRAME)
        frame = decoder.next_frame()
        assert frame is not None
        return decode_client_message(frame)

    assert benchmark(decode).status == STATUSES[0]


def connected_session() -> DeviceSession:
    session = DeviceSession(SessionRules(lambda _: None), 0.0)
    session.step(ev.BytesReceived(encode_connect(DEVICE)), 0.0)
    session.step(ev.VerdictArrived(0), 0.0)
    assert session.state is State.CONNECTED
    return session


def test_session_step_for_a_status_and_its_reply(benchmark: Benchmark) -> None:
    session = connected_session()

    def exchange() -> object:
        session.step(ev.BytesReceived(FRAME), 1.0)
        return session.step(ev.ReplyArrived(session.last_sequence, b'{"lit_up": true}'), 1.0)

    (written,) = benchmark(exchange)
    assert isinstance(written, ev.WriteCommand)


def test_session_short_way_for_a_status_and_its_reply(benchmark: Benchmark) -> None:
    session = connected_session()
    session.step(ev.BytesReceived(FRAME), 1.0)
    session.step(ev.ReplyArrived(session.last_sequence, b""), 1.0)

    def exchange() -> object:
        session.take_status(FRAME, 1.0)
        return session.take_reply(session.last_sequence, b'{"lit_up": true}')

    assert isinstance(benchmark(exchange), bytes)


@pytest.mark.parametrize("kind", ["same", "different"])
def test_aggregate_a_status(benchmark: Benchmark, kind: str) -> None:
    module = ContainedModule(CarAccessoryModule(), 1001)
    aggregate, _ = register(STATUSES[0], 0.0)
    turns = itertools.cycle(STATUSES[:1] if kind == "same" else STATUSES[::-1])

    def take() -> object:
        status = next(turns)
        return aggregate.apply(merge_status(aggregate, module, status, 0, 1.0), 1.0)

    benchmark(take)
    assert aggregate.status in STATUSES


@pytest.fixture(params=["power", "process"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreWriter]:
    is_synced = request.param == "power"
    connection = connect(tmp_path / "handler.db", is_synced=is_synced)
    prepare(connection, tmp_path / "handler.db", StoreNamed(77, CEILING_STEP))
    yield StoreWriter(connection, is_synced=is_synced, max_verdicts=4)
    connection.close()


def test_commit_a_batch_of_100_statuses(benchmark: Benchmark, writer: StoreWriter) -> None:
    devices = [Device.of(1001, 0, f"d{number:06}") for number in range(BATCH)]
    sequences = itertools.count(1)

    def commit() -> None:
        changes: list[Any] = []
        for device in devices:
            registered = RegistrationStored(device, STATUSES[0], False, CommandsStored(b"{}"))
            changes.append(DeviceStored(device.identity, None, registered))
            changes.append(EntryAppended(Entry(next(sequences), device, STATUSES[0])))
        writer.commit(changes)

    benchmark.pedantic(commit, rounds=100, warmup_rounds=5)  # type: ignore[attr-defined]
    assert next(sequences) > BATCH
