from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import uvloop

from fleet_lab.links.conditions import CLEAR, LINKS, Conditions
from fleet_lab.links.transport import LINGERING, Link, wrap
from tests.unit.fleet_lab.links.virtual_time import (
    FakeTransport,
    Inner,
    Relinked,
    run_virtually,
)

SLOW = Conditions(delay_s=0.1)


def _make(link: Link, inner: Inner) -> FakeTransport:
    real = FakeTransport()
    real.set_protocol(link.wrap(lambda: inner)())
    real.protocol.connection_made(real)
    return real


def test_clear_conditions_are_not_in_the_path_at_all() -> None:
    def factory() -> asyncio.Protocol:
        return asyncio.Protocol()

    assert wrap(factory) is factory
    assert wrap(factory, CLEAR, Random(1)) is factory


def test_conditions_need_a_generator() -> None:
    with pytest.raises(ValueError, match="random generator"):
        wrap(asyncio.Protocol, LINKS["LTE"])


def test_a_protocol_that_can_be_relinked_holds_the_real_transport_while_all_is_clear() -> None:
    async def run() -> None:
        inner = Relinked()
        real = _make(Link(CLEAR, Random(1)), inner)

        assert inner.transport is real
        assert real.get_protocol() is inner

    run_virtually(run())


def test_a_running_connection_gets_its_shim_when_conditions_come() -> None:
    async def run() -> None:
        link, inner = Link(CLEAR, Random(1)), Relinked()
        real = _make(link, inner)
        link.set(SLOW)
        inner.transport.write(b"a")
        real.protocol.data_received(b"x")
        await asyncio.sleep(1.0)

        assert real.written == [(pytest.approx(1000.1), b"a")]
        assert inner.told[-1] == (pytest.approx(1000.1), b"x")

    run_virtually(run())


def test_a_cut_of_a_clear_link_holds_the_end_of_a_running_connection() -> None:
    async def run() -> None:
        link, inner = Link(CLEAR, Random(1)), Relinked()
        real = _make(link, inner)
        link.set(CLEAR.cut())
        inner.transport.abort()
        await asyncio.sleep(1.0)

        assert real.ends == []

    run_virtually(run())


def test_any_other_protocol_has_a_thin_transport_that_adds_nothing() -> None:
    async def run() -> None:
        link, inner = Link(CLEAR, Random(1)), Inner()
        real = _make(link, inner)
        inner.transport.write(b"a")
        assert real.written == [(1000.0, b"a")]
        link.set(SLOW)
        inner.transport.write(b"b")
        await asyncio.sleep(1.0)
        link.set(CLEAR)
        inner.transport.write(b"c")

        assert [at for at, _ in real.written] == pytest.approx([1000.0, 1000.1, 1001.0])

    run_virtually(run())


def test_connections_that_the_device_left_are_bounded() -> None:
    async def run() -> None:
        link = Link(Conditions(is_half_open=True), Random(1))
        reals = []
        for _ in range(3 * LINGERING):
            inner = Inner()
            reals.append(_make(link, inner))
            inner.transport.abort()
            await inner.lost

        assert [bool(real.ends) for real in reals] == [True] * (2 * LINGERING) + [False] * LINGERING

    run_virtually(run())


def test_close_ends_everything_at_once() -> None:
    async def run() -> None:
        cut, plain = Link(SLOW.cut(), Random(1)), Link(CLEAR, Random(1))
        inner, other = Inner(), Relinked()
        reals = [_make(cut, inner), _make(plain, other)]
        cut.close()
        plain.close()
        await asyncio.gather(inner.lost, other.lost)

        assert [len(real.ends) for real in reals] == [1, 1]

    run_virtually(run())


def test_all_connections_of_a_link_stall_together() -> None:
    async def run() -> None:
        link = Link(Conditions(stall_every_s=10.0, stall_s=5.0), Random(1))
        inners = [Inner(), Inner()]
        reals = [_make(link, inner) for inner in inners]
        for _ in range(40):
            for inner in inners:
                inner.transport.write(b"x")
            await asyncio.sleep(1.0)

        assert reals[0].written == reals[1].written
        assert link.achieved()[0].stalls == pytest.approx(8, abs=2)

    run_virtually(run())


# From here on with real sockets.


@asynccontextmanager
async def _echo_server() -> AsyncIterator[tuple[int, asyncio.Queue[str]]]:
    events: asyncio.Queue[str] = asyncio.Queue()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        events.put_nowait("made")
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
            events.put_nowait("end of file")
        except ConnectionError:
            events.put_nowait("reset")
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], events
    finally:
        server.close()


class _Client(Inner):
    """Cannot be relinked."""

    def __init__(self) -> None:
        super().__init__()
        self.received = bytearray()
        self.arrived = asyncio.Event()
        self.wanted = 0

    def data_received(self, data: bytes) -> None:
        self.received += data
        if len(self.received) >= self.wanted:
            self.arrived.set()

    async def ask(self, payload: bytes) -> float:
        """Seconds until all of it is back."""
        self.wanted = len(self.received) + len(payload)
        self.arrived.clear()
        started_s = self.loop.time()
        self.transport.write(payload)
        async with asyncio.timeout(30):
            await self.arrived.wait()
        return self.loop.time() - started_s


class _RelinkedClient(_Client, Relinked):
    """Can."""


def _loops() -> list[Any]:
    return [asyncio.new_event_loop, uvloop.new_event_loop]


async def _connect(link: Link, port: int, client: Inner) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        await loop.create_connection(link.wrap(lambda: client), "127.0.0.1", port)


def _run(loop_factory: Any, coroutine: Any) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(coroutine)


@pytest.mark.parametrize("loop_factory", _loops())
@pytest.mark.parametrize("kind", [_Client, _RelinkedClient])
def test_delay_over_real_sockets_can_be_changed_while_running(loop_factory: Any, kind: Any) -> None:
    async def run() -> None:
        async with _echo_server() as (port, _):
            link, client = Link(CLEAR, Random(1)), kind()
            await _connect(link, port, client)
            assert await client.ask(b"a") < 5.0
            link.set(Conditions(delay_s=0.1))
            assert await client.ask(b"b") >= 0.195
            link.set(CLEAR)
            assert await client.ask(b"c") < 5.0
            assert bytes(client.received) == b"abc"
            link.close()
            await client.lost

    _run(loop_factory, run())


@pytest.mark.parametrize("loop_factory", _loops())
def test_a_cut_holds_and_heals_over_real_sockets(loop_factory: Any) -> None:
    async def run() -> None:
        async with _echo_server() as (port, events):
            link, client = Link(LINKS["CABLE"], Random(1)), _Client()
            await _connect(link, port, client)
            await client.ask(b"a")
            link.set(LINKS["OFFLINE"])
            asked = asyncio.create_task(client.ask(b"b" * 300_000))
            await asyncio.sleep(0.05)
            assert bytes(client.received) == b"a"
            link.set(CLEAR)
            await asked
            assert bytes(client.received) == b"a" + b"b" * 300_000
            client.transport.close()
            async with asyncio.timeout(30):
                assert [await events.get() for _ in range(2)] == ["made", "end of file"]

    _run(loop_factory, run())


@pytest.mark.parametrize("loop_factory", _loops())
def test_a_reset_is_a_reset_on_both_sides(loop_factory: Any) -> None:
    async def run() -> None:
        async with _echo_server() as (port, events):
            link, client = Link(Conditions(reset_every_s=0.1), Random(1)), _Client()
            await _connect(link, port, client)
            async with asyncio.timeout(30):
                assert isinstance(await client.lost, ConnectionResetError)
                assert [await events.get() for _ in range(2)] == ["made", "reset"]

    _run(loop_factory, run())


@pytest.mark.parametrize("loop_factory", _loops())
def test_a_rate_slows_a_transfer_and_is_reported(loop_factory: Any) -> None:
    async def run() -> None:
        async with _echo_server() as (port, _):
            link, client = Link(Conditions(rate_bps=4e6), Random(1)), _Client()
            await _connect(link, port, client)
            took_s = await client.ask(bytes(200_000))  # 0.4 s of it, each way
            up, down = link.achieved()
            link.close()
            await client.lost

        assert took_s >= 0.38
        assert up.rate_bps is not None
        assert down.rate_bps is not None
        assert 1e6 < up.rate_bps < 4.4e6
        assert (up.size_bytes, down.size_bytes) == (200_000, 200_000)

    _run(loop_factory, run())


@pytest.mark.parametrize("loop_factory", _loops())
def test_the_preset_is_what_a_device_gets(loop_factory: Any) -> None:
    async def run() -> None:
        async with _echo_server() as (port, _):
            link, client = Link(LINKS["LTE"], Random(1)), _Client()
            await _connect(link, port, client)
            for _ in range(12):
                await client.ask(b"x" * 100)
            up, down = link.achieved()
            link.close()
            await client.lost

        declared = LINKS["LTE"].one_way("up")
        for way in (up, down):
            assert way.delay_p50_s is not None
            assert way.delay_p50_s >= declared.delay_s - declared.jitter_s

    _run(loop_factory, run())
