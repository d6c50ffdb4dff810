"""One shimmed connection on a virtual clock."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from fleet_lab.links.conditions import Conditions, Side
from fleet_lab.links.transport import Link
from tests.unit.fleet_lab.links.virtual_time import FakeTransport, Inner, run_virtually

SLOW = Conditions(up=Side(delay_s=0.1), down=Side(delay_s=0.2))
START = 1000.0


def _made(conditions: Conditions) -> tuple[Link, Inner, FakeTransport]:
    link, inner, real = Link(conditions, Random(3)), Inner(), FakeTransport()
    protocol = link.wrap(lambda: inner)()
    real.set_protocol(protocol)
    protocol.connection_made(real)
    return link, inner, real


def _texts(inner: Inner) -> list[str | bytes]:
    return [what for _, what in inner.told]


def test_the_first_bytes_wait_for_the_handshake_and_later_ones_for_the_delay() -> None:
    async def run() -> None:
        _, inner, real = _made(SLOW)
        inner.transport.write(b"a")
        await asyncio.sleep(1.0)
        inner.transport.writelines([b"b", b"c"])
        await asyncio.sleep(1.0)

        assert real.written == [
            (pytest.approx(START + 0.4), b"a"), (pytest.approx(START + 1.1), b"bc")
        ]  # fmt: skip

    run_virtually(run())


def test_what_comes_down_is_delayed_too_and_ends_behind_its_bytes() -> None:
    async def run() -> None:
        _, inner, real = _made(SLOW)
        await asyncio.sleep(1.0)
        real.protocol.data_received(b"x")
        real.protocol.connection_lost(ConnectionResetError("gone"))
        await inner.lost

        late = pytest.approx(START + 1.2)
        assert inner.told == [(START, "made"), (late, b"x"), (late, "lost")]
        assert isinstance(inner.error, ConnectionResetError)

    run_virtually(run())


def test_a_close_is_known_here_at_once_and_there_behind_the_bytes() -> None:
    async def run() -> None:
        _, inner, real = _made(SLOW)
        await asyncio.sleep(1.0)
        inner.transport.write(b"a")
        inner.transport.close()
        assert inner.transport.is_closing()
        await inner.lost
        assert (inner.told[-1], inner.error) == ((START + 1.0, "lost"), None)
        await asyncio.sleep(1.0)

        there = pytest.approx(START + 1.1)
        assert real.written == [(there, b"a")]
        assert real.ends == [(there, "close")]
        assert _texts(inner).count("lost") == 1

    run_virtually(run())


def test_an_abort_forgets_what_is_under_way() -> None:
    async def run() -> None:
        _, inner, real = _made(SLOW)
        inner.transport.write(b"a")
        inner.transport.abort()
        await asyncio.sleep(1.0)

        assert real.written == []
        assert [how for _, how in real.ends] == ["abort"]

    run_virtually(run())


def test_a_cut_hides_the_close_from_the_far_side_until_it_is_healed() -> None:
    async def run() -> None:
        link, inner, real = _made(SLOW)
        await asyncio.sleep(1.0)
        link.set(SLOW.cut())
        inner.transport.abort()
        await asyncio.sleep(60.0)
        assert real.ends == []
        link.set(SLOW)
        await asyncio.sleep(1.0)

        assert real.ends == [(START + 61.0, "abort")]

    run_virtually(run())


def test_a_connection_made_during_a_cut_vanishes_without_a_trace() -> None:
    async def run() -> None:
        link, inner, real = _made(SLOW.cut())
        inner.transport.write(b"connect")
        await asyncio.sleep(5.0)
        inner.transport.abort()
        await asyncio.sleep(1.0)

        assert real.written == []
        assert real.ends == [(START + 5.0, "abort")]
        assert link.achieved()[0].cuts == 1

    run_virtually(run())


def test_a_connection_made_during_a_cut_works_when_it_is_healed() -> None:
    async def run() -> None:
        link, inner, real = _made(SLOW.cut())
        inner.transport.write(b"connect")
        await asyncio.sleep(5.0)
        link.set(SLOW)

        assert real.written == [(START + 5.0, b"connect")]

    run_virtually(run())


def test_half_open_tells_nobody_anything() -> None:
    async def run() -> None:
        link, inner, real = _made(SLOW)
        await asyncio.sleep(1.0)
        link.set(replace(SLOW, is_half_open=True))
        inner.transport.write(b"a")
        real.protocol.data_received(b"x")
        await asyncio.sleep(60.0)

        assert (real.written, real.ends, _texts(inner)) == ([], [], ["made"])
        assert link.achieved()[0].vanished_bytes == 1

        link.set(SLOW)
        await inner.lost
        assert isinstance(inner.error, ConnectionResetError)
        assert real.ends == [(START + 61.0, "abort")]

    run_virtually(run())


def test_half_open_that_swallowed_nothing_leaves_the_connection_alone() -> None:
    async def run() -> None:
        link, inner, real = _made(SLOW)
        await asyncio.sleep(1.0)
        link.set(replace(SLOW, is_half_open=True))
        link.set(SLOW)
        inner.transport.write(b"a")
        await asyncio.sleep(1.0)

        assert real.written == [(pytest.approx(START + 1.1), b"a")]

    run_virtually(run())


def test_a_connection_is_reset_after_about_its_life() -> None:
    async def run() -> None:
        link, inner, real = _made(Conditions(reset_every_s=10.0))
        error = await inner.lost

        assert isinstance(error, ConnectionResetError)
        assert START + 5.0 <= inner.told[-1][0] <= START + 15.0
        assert real.ends == [(inner.told[-1][0], "abort")]
        assert link.achieved()[0].resets == 1

    run_virtually(run())


def test_a_full_queue_pauses_the_writer_for_half_of_it() -> None:
    async def run() -> None:
        _, inner, real = _made(Conditions(rate_bps=8000.0, queue_s=1.0))
        inner.transport.write(b"x" * 2000)
        await asyncio.sleep(5.0)

        assert inner.told[1:] == [(START, "pause"), (pytest.approx(START + 1.5), "resume")]
        assert b"".join(data for _, data in real.written) == b"x" * 2000

    run_virtually(run())


def test_a_full_queue_stops_reading_from_the_socket() -> None:
    async def run() -> None:
        _, inner, real = _made(Conditions(rate_bps=8000.0, queue_s=1.0))
        real.protocol.data_received(b"x" * 2000)
        assert not real.is_taking
        await asyncio.sleep(5.0)

        assert real.is_taking
        assert b"".join(what for what in _texts(inner) if isinstance(what, bytes)) == b"x" * 2000

    run_virtually(run())


def test_a_paused_reader_gets_nothing_until_it_reads_again() -> None:
    async def run() -> None:
        _, inner, real = _made(Conditions(delay_s=0.1))
        inner.transport.pause_reading()
        assert not inner.transport.is_reading()
        real.protocol.data_received(b"x")
        await asyncio.sleep(5.0)
        assert _texts(inner) == ["made"]
        inner.transport.resume_reading()

        assert _texts(inner) == ["made", b"x"]

    run_virtually(run())


def test_a_slow_far_side_holds_the_shim() -> None:
    async def run() -> None:
        _, inner, real = _made(Conditions(delay_s=0.1))
        real.protocol.pause_writing()
        inner.transport.write(b"x")
        await asyncio.sleep(5.0)
        assert real.written == []
        assert inner.transport.get_write_buffer_size() == 1 + 5
        real.protocol.resume_writing()

        assert real.written == [(START + 5.0, b"x")]

    run_virtually(run())


@pytest.mark.parametrize("keeps_half", [True, False])
def test_end_of_file_closes_unless_the_protocol_wants_half(*, keeps_half: bool) -> None:
    async def run() -> None:
        _, inner, real = _made(SLOW)
        inner.keeps_half = keeps_half
        assert real.protocol.eof_received() is True
        await asyncio.sleep(5.0)

        assert _texts(inner) == (["made", "eof"] if keeps_half else ["made", "eof", "lost"])
        assert [how for _, how in real.ends] == ([] if keeps_half else ["close"])

    run_virtually(run())


def test_an_own_end_of_file_follows_the_bytes() -> None:
    async def run() -> None:
        _, inner, real = _made(SLOW)
        assert inner.transport.can_write_eof()
        inner.transport.write(b"a")
        inner.transport.write_eof()
        await asyncio.sleep(1.0)

        assert real.written == [(pytest.approx(START + 0.4), b"a")]
        assert real.ends == [(pytest.approx(START + 0.4), "eof")]

    run_virtually(run())


def test_nothing_is_written_after_the_end() -> None:
    async def run() -> None:
        _, inner, real = _made(Conditions(delay_s=0.1))
        inner.transport.close()
        inner.transport.write(b"a")
        inner.transport.close()
        inner.transport.abort()
        await asyncio.sleep(1.0)

        assert real.written == []
        assert [how for _, how in real.ends] == ["close"]

    run_virtually(run())


def test_the_facade_speaks_for_the_real_transport() -> None:
    async def run() -> None:
        _, inner, real = _made(SLOW)
        other = Inner()
        inner.transport.set_protocol(other)
        real.protocol.data_received(b"x")
        await asyncio.sleep(1.0)

        assert inner.transport.get_protocol() is other
        assert _texts(other) == [b"x"]
        assert inner.transport.get_extra_info("nothing", 3) == 3

    run_virtually(run())
