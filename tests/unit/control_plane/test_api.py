from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import pytest

from module_gateway.control_plane.api import EventStream, PostedCommand, create_app
from module_gateway.control_plane.feed import Feed
from module_gateway.modules.car_accessory import CarAccessoryModule
from module_gateway.modules.containment import ContainedModule
from module_gateway.protocol.errors import StoreError
from module_gateway.protocol.external import Command, CommandResponse, DeviceState
from module_gateway.protocol.identity import Device
from tests.control_plane_link import running
from tests.control_plane_script import SESSION, connect, status

BUTTON_PATH = "/api/v1/vehicles/acme/van/devices/1000/0/left_button"


@asynccontextmanager
async def api(modules=None, **settings):
    async with running(modules, **settings) as (control_plane, link):
        transport = httpx.ASGITransport(create_app(control_plane))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client, link


async def test_vehicles_are_listed():
    async with api() as (client, link):
        assert (await client.get("/api/v1/vehicles")).json() == []
        await link.run_sequence()
        [vehicle] = (await client.get("/api/v1/vehicles")).json()
        assert (vehicle["company"], vehicle["vehicle"]) == ("acme", "van")
        assert vehicle["is_connected"]
        assert (vehicle["session_id"], vehicle["device_count"]) == (SESSION, 1)


async def test_a_vehicle_is_shown_with_its_devices():
    async with api() as (client, link):
        await link.run_sequence()
        vehicle = (await client.get("/api/v1/vehicles/acme/van")).json()
        [device] = vehicle["devices"]
        assert (device["role"], device["is_connected"]) == ("left_button", True)
        assert device["last_status"]["status"]["data"] == {}


async def test_a_device_is_shown_with_its_last_status_and_error():
    async with api() as (client, link):
        await link.run_sequence()
        link.receive(status(2, data=b'{"pressed": true}', error=b"3"))
        await link.next()
        device = (await client.get(BUTTON_PATH)).json()
        assert device["last_status"]["status"] == {
            "encoding": "json",
            "data": {"pressed": True},
            "problem": None,
        }
        assert device["last_error"]["error"]["data"] == 3


async def test_history_is_listed_with_limit_and_since():
    async with api() as (client, link):
        await link.run_sequence()
        for counter in (2, 3, 4):
            link.receive(status(counter, data=str(counter).encode()))
            await link.next()

        async def listed(query: str) -> list[object]:
            records = (await client.get(f"{BUTTON_PATH}/history{query}")).json()
            return [record["status"]["data"] for record in records]

        assert await listed("") == [{}, 2, 3, 4]
        assert await listed("?limit=2") == [3, 4]
        assert await listed("?since=0&limit=2") == [{}, 2]
        assert await listed(f"?since={10**15}") == []


async def test_roles_with_slashes_and_spaces_are_reachable():
    odd = Device.of(7, 1, "a b/č")
    async with api() as (client, link):
        link.receive(connect([odd]))
        await link.next()
        link.receive(status(1, odd))
        await link.next()
        base = "/api/v1/vehicles/acme/van/devices/7/1/a%20b%2F%C4%8D"
        assert (await client.get(base)).json()["role"] == "a b/č"
        assert len((await client.get(f"{base}/history")).json()) == 1


async def test_a_posted_command_is_accepted_and_its_state_can_be_asked():
    async with api() as (client, link):
        await link.run_sequence()
        answer = await client.post(f"{BUTTON_PATH}/commands", json={"command": {"lit_up": True}})
        assert answer.status_code == 202
        posted = answer.json()
        assert (posted["state"], posted["is_final"]) == ("waiting", False)
        command = await link.next()
        assert isinstance(command, Command)
        assert command.command == b'{"lit_up": true}'
        shown = (await client.get(f"/api/v1/commands/{posted['id']}")).json()
        assert shown["state"] == "sent"
        link.receive(CommandResponse(SESSION, 0, command.counter))
        link.receive(status(2))
        await link.next()
        shown = (await client.get(f"/api/v1/commands/{posted['id']}")).json()
        assert (shown["state"], shown["is_final"], shown["response"]) == ("ok", True, 0)


async def test_a_command_may_be_any_bytes():
    async with api() as (client, link):
        await link.run_sequence()
        answer = await client.post(f"{BUTTON_PATH}/commands", json={"base64": "AP8="})
        assert answer.status_code == 202
        assert (await link.next()).command == b"\x00\xff"


async def test_a_command_expires_when_its_device_does_not_come():
    async with api() as (client, link):
        await link.run_sequence()
        link.receive(status(2, state=DeviceState.DISCONNECT))
        await link.next()
        listener = link.listener.feed.listen()
        body = {"command": 1, "valid_for_s": 0.01}
        posted = (await client.post(f"{BUTTON_PATH}/commands", json=body)).json()
        news = await listener.next(5)
        assert json.loads(news.content)["state"] == "expired"
        shown = (await client.get(f"/api/v1/commands/{posted['id']}")).json()
        assert (shown["state"], shown["is_final"]) == ("expired", True)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "either"),
        ({"command": 1, "base64": "AA=="}, "either"),
        ({"base64": "%"}, "cannot be used"),
        ({"command": 1, "colour": "red"}, "colour"),
        ({"command": 1, "valid_for_s": -1}, "valid_for_s"),
        ({"command": 1, "valid_for_s": 10_000}, "valid_for_s"),
    ],
)
async def test_a_command_that_is_none_is_refused_with_a_sentence(body, sentence):
    async with api() as (client, link):
        await link.run_sequence()
        answer = await client.post(f"{BUTTON_PATH}/commands", json=body)
        assert answer.status_code == 422
        assert sentence in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        (b'{"command": ', "application/json", "the body is no JSON at character 12"),
        (b'{"command": 1}', "application/x-www-form-urlencoded", "Content-Type: application/json"),
        (b'{"cmd": 1}', "application/json", "body.cmd: no such key; known are command, base64"),
        (b"{}", "application/json", 'body: give either "command"'),
    ],
)
async def test_a_body_of_the_wrong_form_is_answered_with_what_to_do(content, kind, sentence):
    async with api() as (client, link):
        await link.run_sequence()
        headers = {"Content-Type": kind}
        answer = await client.post(f"{BUTTON_PATH}/commands", content=content, headers=headers)
        assert (answer.status_code, sentence in answer.json()["error"]) == (422, True)


@pytest.mark.parametrize("content", [b"", b"{", b'{"command": NaN}', b"[" * 100_000, b"\xff"])
async def test_a_body_that_is_no_json_is_refused(content):
    async with api() as (client, link):
        await link.run_sequence()
        headers = {"Content-Type": "application/json"}
        answer = await client.post(f"{BUTTON_PATH}/commands", content=content, headers=headers)
        assert answer.status_code in {400, 422}
        assert answer.json()["error"]


async def test_a_command_that_its_module_refuses_is_422_with_the_reason():
    accessory = Device.of(1001, 0, "left")
    modules = {1001: ContainedModule(CarAccessoryModule())}
    async with api(modules) as (client, link):
        link.receive(connect([accessory]))
        await link.next()
        link.receive(status(1, accessory))
        await link.next()
        path = "/api/v1/vehicles/acme/van/devices/1001/0/left/commands"
        answer = await client.post(path, json={"command": "nonsense"})
        assert answer.status_code == 422
        assert "car_accessory" in answer.json()["error"]
        assert (await client.post(path, json={"command": {"lit_up": True}})).status_code == 202


async def test_too_many_waiting_commands_are_429():
    async with api(commands_waiting=1) as (client, link):
        await link.run_sequence()
        link.receive(status(2, state=DeviceState.DISCONNECT))
        await link.next()
        path = f"{BUTTON_PATH}/commands"
        codes = [(await client.post(path, json={"command": 1})).status_code for _ in range(2)]
        assert codes == [202, 429]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/vehicles/acme/bus",
        "/api/v1/vehicles/acme/van/devices/1/1/none",
        "/api/v1/vehicles/acme/van/devices/1/1/none/history",
        "/api/v1/commands/none",
        "/elsewhere",
    ],
)
async def test_what_is_not_there_is_404_with_a_sentence(path):
    async with api() as (client, link):
        await link.run_sequence()
        answer = await client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/vehicles/ACME/van",
        "/api/v1/vehicles/acme/van/devices/x/0/left_button",
        f"{BUTTON_PATH}/history?limit=0",
        f"{BUTTON_PATH}/history?since=-1",
    ],
)
async def test_malformed_requests_are_422_with_a_sentence(path):
    async with api() as (client, _):
        answer = await client.get(path)
        assert answer.status_code == 422
        assert answer.json()["error"]


async def test_a_post_for_an_unknown_device_is_404():
    async with api() as (client, _):
        answer = await client.post(f"{BUTTON_PATH}/commands", json={"command": 1})
        assert answer.status_code == 404


async def test_a_store_that_fails_is_503(monkeypatch):
    async with running() as (control_plane, _):

        async def fail():
            raise StoreError("disk full")

        monkeypatch.setattr(control_plane.store, "vehicles", fail)
        transport = httpx.ASGITransport(create_app(control_plane))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.get("/api/v1/vehicles")
            assert answer.status_code == 503
            assert "disk full" in answer.json()["error"]


async def test_other_hosts_are_refused():
    async with api() as (client, _):
        answer = await client.get("/api/v1/vehicles", headers={"Host": "evil.example"})
        assert answer.status_code == 421


async def test_the_schema_names_every_route():
    async with api() as (client, _):
        paths = (await client.get("/openapi.json")).json()["paths"]
        device = "/api/v1/vehicles/{company}/{vehicle}/devices/{module}/{device_type}/{role}"
        assert set(paths) == {
            "/api/v1/vehicles",
            "/api/v1/vehicles/{company}/{vehicle}",
            "/api/v1/commands/{command_id}",
            device,
            f"{device}/history",
            f"{device}/commands",
            f"{device}/commands/{{command_id}}",
            "/api/v1/events",
        }


async def test_the_page_loads_nothing_from_elsewhere():
    async with api() as (client, _):
        page = await client.get("/")
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert "http:" not in page.text
        assert "<script>" not in page.text
        for path, kind in (
            ("/page.js", "javascript"),
            ("/page.css", "css"),
            ("/icon.svg", "svg"),
        ):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert kind in answer.headers["content-type"]


async def test_health_says_whether_the_broker_is_there():
    async with api() as (client, link):
        assert (await client.get("/healthz")).json() == {"alive": True, "broker_connected": True}
        link.go_down()
        assert (await client.get("/healthz")).json() == {"alive": True, "broker_connected": False}


async def test_event_streams_are_bounded():
    async with running(event_listeners=1) as (control_plane, _):
        control_plane.feed.listen()
        transport = httpx.ASGITransport(create_app(control_plane))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/api/v1/events")).status_code == 503


def test_null_is_a_command():
    assert PostedCommand(command=None).to_bytes() == b"null"


async def test_a_reader_that_goes_before_the_stream_begins_leaves_the_feed():
    feed = Feed(1, 10)
    stream = EventStream(feed, feed.listen())

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        await asyncio.Event().wait()

    await stream({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)
    assert not feed.has_listeners


async def test_a_command_is_found_under_its_device_only():
    async with api() as (client, link):
        await link.run_sequence()
        answer = await client.post(f"{BUTTON_PATH}/commands", json={"command": 1})
        assert answer.headers["location"] == f"/api/v1/commands/{answer.json()['id']}"
        command_id = answer.json()["id"]
        shown = await client.get(f"{BUTTON_PATH}/commands/{command_id}")
        assert shown.json()["id"] == command_id
        other = BUTTON_PATH.replace("left", "right")
        assert (await client.get(f"{other}/commands/{command_id}")).status_code == 404
        assert (await client.get(f"{BUTTON_PATH}/commands/none")).status_code == 404
