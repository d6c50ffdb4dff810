from __future__ import annotations

import asyncio
from random import Random

import pytest

from fleet_lab.links.meter import Meter
from fleet_lab.links.pipe import Pipe
from fleet_lab.links.presets import OneWay
from fleet_lab.links.shim import Item, Rhythm, Shim
from tests.unit.fleet_lab.links.virtual_time import run_virtually


def _pipe(way: OneWay) -> tuple[Pipe, list[tuple[float, Item]]]:
    loop = asyncio.get_running_loop()
    arrived: list[tuple[float, Item]] = []
    shim = Shim(way, Random(1), Meter(), Rhythm())
    return Pipe(loop, shim, lambda item: arrived.append((loop.time(), item))), arrived


def test_what_is_put_in_arrives_in_time() -> None:
    async def run() -> None:
        pipe, arrived = _pipe(OneWay(delay_s=0.5))
        pipe.put(b"a")
        await asyncio.sleep(0.2)
        pipe.put(b"b")
        await asyncio.sleep(9.0)

        assert arrived == [(pytest.approx(1000.5), b"a"), (pytest.approx(1000.7), b"b")]

    run_virtually(run())


def test_without_a_delay_it_arrives_at_once() -> None:
    async def run() -> None:
        pipe, arrived = _pipe(OneWay())
        pipe.put(b"a")

        assert arrived == [(1000.0, b"a")]

    run_virtually(run())


def test_a_pump_sees_changed_conditions() -> None:
    async def run() -> None:
        pipe, arrived = _pipe(OneWay(is_cut=True))
        pipe.put(b"a")
        await asyncio.sleep(5.0)
        pipe.shim.set(OneWay(), asyncio.get_running_loop().time())
        pipe.pump()

        assert arrived == [(1005.0, b"a")]

    run_virtually(run())


def test_a_stopped_pipe_delivers_nothing() -> None:
    async def run() -> None:
        pipe, arrived = _pipe(OneWay(delay_s=0.5))
        pipe.put(b"a")
        pipe.stop()
        await asyncio.sleep(9.0)

        assert arrived == []

    run_virtually(run())
