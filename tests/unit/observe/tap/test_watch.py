from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt import MqttBus
from module_gateway.external_client.tls import make_context
from module_gateway.observe.tap.watch import Place, Watch
from module_gateway.protocol.errors import BusError
from module_gateway.runtime.settings import Endpoint, MqttSettings
from module_gateway.runtime.tasks import start_task, stop_tasks
from tests.brokers import EmbeddedBroker, MosquittoBroker, TlsMosquittoBroker, free_port
from tests.unit.external_client.certificates import make_certificates

LIMIT_S = 60.0


class Heard:
    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.news: list[str] = []
        self.changed = asyncio.Event()

    def message(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))
        self.changed.set()

    def told(self, text: str) -> None:
        self.news.append(text)
        self.changed.set()

    async def until(self, words: str, times: int = 1) -> None:
        async with asyncio.timeout(LIMIT_S):
            while sum(words in text for text in self.news) < times:
                self.changed.clear()
                await self.changed.wait()


class Nobody:
    def bus_up(self) -> None:
        self.up.set()

    def bus_down(self, reason: str) -> None: ...
    def bus_message(self, topic: str, payload: bytes) -> None: ...

    def __init__(self) -> None:
        self.up = asyncio.Event()


async def test_what_others_publish_is_heard_and_again_after_an_outage(tmp_path: Path) -> None:
    heard, listener = Heard(), Nobody()
    with MosquittoBroker(tmp_path) as broker:
        place = Place("the bus", broker.unix_location, ("mg/1/#",))
        watch = Watch(place, heard.message, heard.told, pause_s=0.05)
        watching = start_task(watch.run(), "watch")
        await heard.until("watching the bus at")
        broker.kill()
        await heard.until("trying again")
        broker.start()
        await heard.until("watching the bus at", times=2)
        bus = MqttBus(broker.unix_location, "other")
        running = start_task(bus.run(("x",), listener), "other")
        async with asyncio.timeout(LIMIT_S):
            await listener.up.wait()
            await bus.publish("mg/1/handler/1", b"hello")
            while not heard.messages:
                heard.changed.clear()
                await heard.changed.wait()
        await stop_tasks([watching, running])
    assert heard.messages == [("mg/1/handler/1", b"hello")]
    assert sum("trying again" in text for text in heard.news) == 1


async def test_a_broker_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    place = Place("the bus", BusLocation(tmp_path / "bus.sock"), ("a",))
    with pytest.raises(BusError, match=r"the bus at .*bus.sock cannot be watched: no such file"):
        await Watch(place, Heard().message, Heard().told).run()


async def test_a_port_where_nobody_listens_is_told_at_once() -> None:
    place = Place("the broker", BusLocation(None, "127.0.0.1", free_port()), ("a",))
    with pytest.raises(BusError, match="connection refused"):
        await Watch(place, Heard().message, Heard().told).run()


async def test_somebody_who_says_nothing_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("module_gateway.observe.tap.watch.CONNECT_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = Place("it", BusLocation(None, "127.0.0.1", silent.getsockname()[1]), ("a",))
        with pytest.raises(BusError, match="does not answer in"):
            await Watch(place, Heard().message, Heard().told).run()


async def test_never_plaintext_instead_of_tls(tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path) as broker:
        place = Place("it", broker.tcp_location, ("a",), ssl.create_default_context)
        with pytest.raises(BusError, match="TLS"):
            await Watch(place, Heard().message, Heard().told).run()


async def test_with_tls_the_endpoints_own_files_are_used(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    folder = make_certificates(tmp_path / "tls").folder
    files = MqttSettings(
        ssl=True, ca_file=str(folder / "ca.pem"), client_cert=str(folder / "client.pem"),
        client_key=str(folder / "client.key"),
    )  # fmt: skip
    heard = Heard()
    with TlsMosquittoBroker(
        tmp_path, folder / "ca.pem", folder / "server.pem", folder / "server.key"
    ) as broker:
        location = BusLocation(None, "127.0.0.1", broker.tls_port)
        end = Endpoint(
            server_ip="127.0.0.1", port=broker.tls_port, modules=(1,), mqtt_settings=files
        )
        place = Place("it", location, ("a",), lambda: make_context(end, "here"))
        watching = start_task(Watch(place, heard.message, heard.told).run(), "watch")
        await heard.until("watching it at")
        await stop_tasks([watching])


async def test_the_embedded_broker_can_be_watched_too(tmp_path: Path) -> None:
    heard, listener = Heard(), Nobody()
    with EmbeddedBroker(tmp_path) as broker:
        place = Place("the bus", broker.tcp_location, ("mg/1/handler/+",))
        tasks = [start_task(Watch(place, heard.message, heard.told).run(), "watch")]
        await heard.until("watching the bus at")
        bus = MqttBus(broker.tcp_location, "other")
        tasks.append(start_task(bus.run(("x",), listener), "other"))
        async with asyncio.timeout(LIMIT_S):
            await listener.up.wait()
            await bus.publish("mg/1/server/1", b"no")
            await bus.publish("mg/1/handler/1", b"yes")
            while not heard.messages:
                heard.changed.clear()
                await heard.changed.wait()
        await stop_tasks(tasks)
    assert heard.messages == [("mg/1/handler/1", b"yes")]
