"""The shell of one endpoint."""

from __future__ import annotations

import asyncio

from module_gateway.external_client import metrics
from module_gateway.external_client.endpoint_task import Place
from module_gateway.protocol.errors import Reason
from module_gateway.runtime.settings import Endpoint
from tests.unit.external_client import fake_broker
from tests.unit.external_client.fake_broker import FakeBroker
from tests.unit.external_client.shell import LinkedHandler, make_settings, running_client
from tests.unit.external_client.world import device


def unreachable() -> float:
    return metrics.RECONNECTS.labels("0", Reason.BROKER_UNREACHABLE)._value.get()


def test_place_names_the_key_of_the_configuration() -> None:
    place = Place(2, Endpoint(server_ip="x", port=1, modules=(1,)))
    assert "external-connection.endpoints[2]" == place.where


async def test_timer_drives_the_attempts() -> None:
    """A peer that says nothing is given up after the step's time and tried again."""
    handler = LinkedHandler()
    handler.status(device("a"), b"1")
    async with FakeBroker() as broker:
        settings = make_settings(broker.port, step_timeout_ms=50, backoff_min_ms=10)
        async with running_client(settings, handler):
            await broker.until(lambda: len(broker.of(fake_broker.PUBLISH)) >= 3)


async def test_refusing_broker_of_a_listening_peer_is_asked_often() -> None:
    """One that was up and goes, and comes back; the configured back-off would take far longer."""
    async with FakeBroker() as broker:
        settings = make_settings(broker.port, backoff_min_ms=3_600_000, backoff_max_ms=3_600_000)
        async with running_client(settings, LinkedHandler()) as (client, _, _):
            task = client.endpoints[0]
            await task.broker_up.wait()
            before = unreachable()
            task.endpoint.retry.listens = True
            broker.stop_listening()
            broker.drop_all()
            async with asyncio.timeout(30):
                while unreachable() < before + 2:  # lost, then refused
                    await asyncio.sleep(0.01)  # nobody tells how often it has tried
            await broker.listen_again()
            await broker.until(lambda: len(broker.of(fake_broker.SUBSCRIBE)) >= 2)
            await task.broker_up.wait()


async def test_broker_that_comes_back_is_used_again() -> None:
    async with FakeBroker() as broker:
        settings = make_settings(broker.port, backoff_min_ms=10)
        async with running_client(settings, LinkedHandler()) as (client, _, _):
            await client.endpoints[0].broker_up.wait()
            broker.drop_all()
            await broker.until(lambda: len(broker.of(fake_broker.SUBSCRIBE)) >= 2)
            await client.endpoints[0].broker_up.wait()
