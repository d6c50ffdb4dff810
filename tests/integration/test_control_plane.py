"""The control plane on a real broker and HTTP, against a vehicle that knows the schema only."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import httpx
import pytest

from module_gateway.control_plane.api import create_app
from module_gateway.control_plane.http_server import serve_http
from module_gateway.control_plane.server import ControlPlane
from module_gateway.modules.catalog import load_modules
from module_gateway.protocol import external_protocol_pb2 as external
from module_gateway.runtime.settings import ControlPlaneSettings, Settings
from module_gateway.runtime.state import read_run_note
from tests.brokers import MosquittoBroker
from tests.scripted_vehicle import BUTTON, LAMP, DeviceName, scripted_vehicle

PROCESS = "import sys; from module_gateway.control_plane.app import main; sys.exit(main())"
RECOVERY_S = 0.5
"""decisions.md: for a peer that announces itself."""


@pytest.fixture
def broker(tmp_path):
    with MosquittoBroker(tmp_path, has_unix=False) as running:
        yield running


@asynccontextmanager
async def control_plane(port: int, **changes):
    """One at work in this process; yields a client of its API."""
    section = ControlPlaneSettings(broker_port=port, http_port=0, **changes)
    settings = Settings(control_plane_settings=section)
    serving = ControlPlane(settings, load_modules(settings.module_paths, {}))
    stop = asyncio.Event()
    async with serve_http(create_app(serving), "127.0.0.1", 0) as http_port:
        task = asyncio.create_task(serving.run(stop))
        try:
            await asyncio.wait_for(serving.ready(), 30)
            base = f"http://127.0.0.1:{http_port}"
            async with httpx.AsyncClient(base_url=base, timeout=30) as client:
                yield client
        finally:
            stop.set()
            await asyncio.wait_for(task, 30)


def path_of(device: DeviceName, vehicle: str = "van") -> str:
    return (
        f"/api/v1/vehicles/acme/{vehicle}/devices/"
        f"{device.module}/{device.device_type}/{device.role}"
    )


async def test_connect_sequence_statuses_and_disconnect(broker):
    async with control_plane(broker.port) as api, scripted_vehicle(broker.port) as van:
        await van.run_sequence("s1", [BUTTON, LAMP], b'{"pressed": false}')
        counter = await van.send_status(BUTTON, b'{"pressed": true}')
        assert await van.receive_ack() == counter == 3
        await van.send_status(LAMP, b"last", external.Status.DISCONNECT)
        assert await van.receive_ack() == 4
        vehicle = (await api.get("/api/v1/vehicles/acme/van")).json()
        shown = {device["role"]: device for device in vehicle["devices"]}
        assert shown["left_button"]["is_connected"]
        assert shown["left_button"]["last_status"]["status"]["data"] == {"pressed": True}
        assert not shown["lamp"]["is_connected"]
        history = (await api.get(f"{path_of(BUTTON)}/history")).json()
        assert [entry["state"] for entry in history] == ["connecting", "running"]


async def test_a_command_posted_over_http_reaches_the_vehicle(broker):
    async with control_plane(broker.port) as api, scripted_vehicle(broker.port) as van:
        await van.run_sequence("s1", [LAMP], b'{"pressed": true}')
        body = {"command": {"lit_up": True}}
        answer = await api.post(f"{path_of(LAMP)}/commands", json=body)
        assert answer.status_code == 202
        command = await van.receive_command()
        device = command.deviceCommand.device
        assert (device.module, device.deviceRole, device.priority) == (1001, "lamp", 0)
        assert json.loads(command.deviceCommand.commandData) == {"lit_up": True}
        await van.send_answer(command.messageCounter)
        await van.send_status(LAMP, b'{"pressed": false}')
        await van.receive_ack()
        shown = (await api.get(f"/api/v1/commands/{answer.json()['id']}")).json()
        assert (shown["state"], shown["response"]) == ("ok", 0)


async def test_a_posted_command_takes_its_place_in_the_next_connect_sequence(broker):
    thing = DeviceName(77, 1, "thing")
    async with control_plane(broker.port) as api, scripted_vehicle(broker.port) as van:
        await van.run_sequence("s1", [thing])
        await van.send_status(thing, b"{}", external.Status.DISCONNECT)
        await van.receive_ack()
        posted = await api.post(f"{path_of(thing)}/commands", json={"base64": "AP8="})
        assert posted.status_code == 202
        await van.send_connect("s2", [thing])
        await van.receive_connect_response()
        await van.send_status(thing, b"{}", external.Status.CONNECTING)
        await van.receive_ack()
        assert (await van.receive_command()).deviceCommand.commandData == b"\x00\xff"


async def test_a_command_that_the_module_refuses_never_leaves(broker):
    async with control_plane(broker.port) as api, scripted_vehicle(broker.port) as van:
        await van.run_sequence("s1", [LAMP])
        answer = await api.post(f"{path_of(LAMP)}/commands", json={"command": [1, 2]})
        assert answer.status_code == 422
        await van.send_status(LAMP, b"{}")
        assert await van.receive_ack() == 2


async def test_foreign_pages_and_hosts_are_refused(broker):
    async with control_plane(broker.port) as api, scripted_vehicle(broker.port) as van:
        await van.run_sequence("s1")
        post = f"{path_of(BUTTON)}/commands"
        foreign = {"Origin": "http://evil.example"}
        assert (await api.post(post, json={"command": 1}, headers=foreign)).status_code == 403
        rebound = {"Host": "evil.example"}
        assert (await api.get("/api/v1/vehicles", headers=rebound)).status_code == 421
        large = {"command": "x" * 300_000}
        assert (await api.post(post, json=large)).status_code == 413


async def test_repeats_are_removed_by_position(broker):
    async with control_plane(broker.port) as api, scripted_vehicle(broker.port) as van:
        await van.run_sequence("s1")
        for sequence in (5, 6):
            await van.send_status(BUTTON, str(sequence).encode(), sequence=sequence)
            await van.receive_ack()
        await van.send_connect("s2", [BUTTON], ["applied"])
        [applied] = (await van.receive_connect_response()).applied
        assert (applied.store_id, applied.sequence) == (77, 6)
        assert applied.device.deviceRole == "left_button"
        await van.send_status(BUTTON, b"6", external.Status.CONNECTING, sequence=6, error=b"1")
        assert await van.receive_ack() == 1
        await van.send_answer((await van.receive_command()).messageCounter)
        await van.send_status(BUTTON, b"7", sequence=7)
        assert await van.receive_ack() == 2
        device = (await api.get(path_of(BUTTON))).json()
        assert (device["statuses"], device["repeats"], device["last_error"]) == (4, 1, None)
        history = (await api.get(f"{path_of(BUTTON)}/history")).json()
        assert [entry["status"]["data"] for entry in history] == [{}, 5, 6, 7]


async def test_R18_replayed_and_live_statuses_travel_beside_each_other(broker):
    async with control_plane(broker.port) as api, scripted_vehicle(broker.port) as van:
        await van.send_connect("s1", [BUTTON], ["applied", "replay"])
        answer = await van.receive_connect_response()
        assert (list(answer.capabilities), list(answer.applied)) == (["replay", "listens"], [])
        await van.send_status(BUTTON, b"1", external.Status.CONNECTING, sequence=1, replayed=True)
        assert await van.receive_ack() == 1
        await van.send_answer((await van.receive_command()).messageCounter)
        for number in (20, 21):
            await van.send_status(BUTTON, str(number).encode(), sequence=number, live=True)
            await van.receive_ack()
        await van.send_status(BUTTON, b"2", sequence=2, replayed=True)
        await van.receive_ack()

        await van.send_connect("s2", [BUTTON], ["applied", "replay"])
        applied = (await van.receive_connect_response()).applied
        assert [(one.first_sequence, one.sequence) for one in applied] == [(0, 2), (20, 21)]
        for state, number in ((external.Status.CONNECTING, 3), (external.Status.RUNNING, 20)):
            await van.send_status(
                BUTTON, str(number).encode(), state, sequence=number, replayed=True
            )
            await van.receive_ack()
            if number == 3:
                await van.send_answer((await van.receive_command()).messageCounter)
        device = (await api.get(path_of(BUTTON))).json()
        assert (device["statuses"], device["replayed"], device["repeats"]) == (5, 3, 1)
        assert device["last_status"]["status"]["data"] == 21
        history = (await api.get(f"{path_of(BUTTON)}/history")).json()
        shown = [(entry["status"]["data"], entry["is_replayed"]) for entry in history]
        assert shown == [(1, True), (2, True), (3, True), (20, False), (21, False)]


async def test_a_silent_session_times_out_with_a_notification(broker):
    async with (
        control_plane(broker.port, session_timeout_ms=1000) as api,
        scripted_vehicle(broker.port) as van,
    ):
        await van.run_sequence("s1")
        assert await van.receive() is None
        vehicle = (await api.get("/api/v1/vehicles/acme/van")).json()
        assert (vehicle["is_connected"], vehicle["end_reason"]) == (False, "session_timeout")
        await van.run_sequence("s2")


async def test_two_vehicles_are_independent(broker):
    async with (
        control_plane(broker.port, step_timeout_ms=3000) as api,
        scripted_vehicle(broker.port, vehicle="van") as van,
        scripted_vehicle(broker.port, vehicle="bus") as bus,
    ):
        await bus.run_sequence("b1")
        await van.send_connect("v1", [BUTTON, LAMP])
        await van.receive_connect_response()  # and then it sends nothing more
        counters = []
        for _ in range(20):
            await bus.send_status(BUTTON, b"{}")
            counters.append(await bus.receive_ack())
        assert counters == list(range(2, 22))
        assert await van.receive() is None
        await bus.send_status(BUTTON, b"{}")
        assert await bus.receive_ack() == 22
        vehicles = (await api.get("/api/v1/vehicles")).json()
        assert [(each["vehicle"], each["is_ready"]) for each in vehicles] == [
            ("bus", True),
            ("van", False),
        ]


async def test_the_event_stream_tells_what_happens(broker):
    async with (
        control_plane(broker.port) as api,
        scripted_vehicle(broker.port) as van,
        api.stream("GET", "/api/v1/events") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        assert await anext(lines) == ": listening"
        await van.run_sequence("s1", payload=b"17")
        told: list[tuple[str, dict]] = []
        async with asyncio.timeout(30):
            while len(told) < 3:
                line = await anext(lines)
                if line.startswith("event: "):
                    content = (await anext(lines)).removeprefix("data: ")
                    told.append((line.removeprefix("event: "), json.loads(content)))
        assert [kind for kind, _ in told] == ["session", "status", "session"]
        assert told[1][1]["status"]["data"] == 17


async def test_stop_tells_vehicles_and_listeners(broker):
    async with scripted_vehicle(broker.port) as van:
        async with control_plane(broker.port) as api:
            await van.run_sequence("s1")
            stream = api.stream("GET", "/api/v1/events")
            response = await stream.__aenter__()
            lines = response.aiter_lines()
            assert await anext(lines) == ": listening"
        assert await van.receive() is None
        await stream.__aexit__(None, None, None)


async def test_restart_of_the_broker_starts_a_new_session(broker):
    async with control_plane(broker.port) as api:
        async with scripted_vehicle(broker.port) as van:
            await van.run_sequence("s1")
            broker.kill()
            await asyncio.wait_for(van.lost.wait(), 30)
        broker.start()
        async with asyncio.timeout(30):
            while not (await api.get("/healthz")).json()["broker_connected"]:
                await asyncio.sleep(0.02)  # the API has no event for its own link
        async with scripted_vehicle(broker.port) as van:
            await van.run_sequence("s2")
        vehicle = (await api.get("/api/v1/vehicles/acme/van")).json()
        assert (vehicle["sessions"], vehicle["session_id"]) == (2, "s2")


async def _start_process(tmp_path, broker_port: int) -> asyncio.subprocess.Process:
    file = tmp_path / "config.toml"
    endpoint = 'protocol-type = "mqtt"\nserver-ip = "127.0.0.1"\nport = 18883\nmodules = [1]\n'
    file.write_text(
        "config-version = 1\n[control-plane-settings]\nmetrics-port = 0\nhttp-port = 0\n"
        '[external-connection]\ncompany = "acme"\nvehicle-name = "van"\n'
        f"[[external-connection.endpoints]]\n{endpoint}"
    )
    arguments = ["--config", str(file), "--state-dir", str(tmp_path / "state")]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROCESS,
        *arguments,
        "--broker-port",
        str(broker_port),
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        async for line in process.stderr:
            if json.loads(line)["event"] == "ready":
                break
    return process


async def _end_process(process: asyncio.subprocess.Process, how: str) -> int:
    getattr(process, how)()
    assert process.stderr is not None
    await process.stderr.read()
    return await process.wait()


async def test_a_killed_control_plane_calls_back_each_vehicle_that_it_knows(tmp_path, broker):
    process = await _start_process(tmp_path, broker.port)
    async with scripted_vehicle(broker.port) as van:
        await van.run_sequence("s1")
        took_s: list[float] = []
        while not took_s or (min(took_s) >= RECOVERY_S and len(took_s) < 5):
            await _end_process(process, "kill")
            process = await _start_process(tmp_path, broker.port)
            began = time.monotonic()
            assert await van.receive() is None
            await van.run_sequence("s2")
            took_s.append(time.monotonic() - began)
        assert min(took_s) < RECOVERY_S
        note = read_run_note(tmp_path / "state", "control_plane")
        assert note is not None
        async with httpx.AsyncClient() as client:
            url = f"http://{note.addresses['api']}/api/v1/vehicles/acme/van"
            assert (await client.get(url)).json()["session_id"] == "s2"
        assert await _end_process(process, "terminate") == 0
        assert await van.receive() is None
