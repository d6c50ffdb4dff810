"""The real thing: `run_all.py` with all its processes, on free ports, in a folder of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from fleet_lab.device import Gateway
from tests.brokers import free_port

REPOSITORY: Final = Path(__file__).resolve().parents[2]
START_LIMIT_S: Final = 120.0
STOP_LIMIT_S: Final = 60.0
RECOVERY_LIMIT_S: Final = 15.0 * float(os.environ.get("MODULE_GATEWAY_TEST_PATIENCE", "3"))
"""Telemetry must be back within 15 s; a machine that is busy with other things may scale it."""

DEMO_ROLES: Final = {"left_button", "autonomy", "testing_plc"}
COMPANY: Final = "acme"
VEHICLE: Final = "van_1"


def configuration(upstream_port: int, **sections: object) -> dict[str, object]:
    """A file in our own form: every port free, every module at one endpoint.

    The ports of devices and API are fixed ones: they must be the same after a restart.
    """
    modules = sections.get("module-paths", {"1": "", "2": "", "3": "", "1000": "", "1001": ""})
    assert isinstance(modules, Mapping)
    return {
        "config-version": 1,
        "internal-server-settings": {"port": free_port(), "metrics-port": 0},
        "module-handler-settings": {"metrics-port": 0},
        "external-client-settings": {"metrics-port": 0},
        "control-plane-settings": {
            "broker-port": upstream_port, "http-port": free_port(), "metrics-port": 0,
        },
        "external-connection": {
            "company": COMPANY,
            "vehicle-name": VEHICLE,
            "endpoints": [
                {
                    "protocol-type": "mqtt", "server-ip": "127.0.0.1", "port": upstream_port,
                    "modules": sorted(map(int, modules)),
                }
            ],
        },
        **sections,
    }  # fmt: skip


class Stack:
    """A running gateway. Use `running_stack`."""

    def __init__(self, process: asyncio.subprocess.Process, state_dir: Path) -> None:
        self.process = process
        self.state_dir = state_dir
        self.lines: list[str] = []
        self.addresses: dict[str, str] = {}
        self._new_line = asyncio.Event()
        self._reading = asyncio.create_task(self._read(), name="read run_all.py")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))
            self._new_line.set()
        self._new_line.set()

    async def wait_for_line(
        self, is_wanted: Callable[[str], bool], limit_s: float, *, since: int = 0
    ) -> str:
        """The first line from number `since` on that is wanted; fails with what was said."""
        seen = since
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    for line in self.lines[seen:]:
                        seen += 1
                        if is_wanted(line):
                            return line
                    if self._reading.done():
                        break
                    self._new_line.clear()
                    await self._new_line.wait()
        except TimeoutError:
            pass
        raise AssertionError("run_all.py never said it:\n" + "\n".join(self.lines[-60:]))

    async def wait_until_ready(self) -> None:
        """Wait for the ready line and read the addresses in it."""
        line = await self.wait_for_line(lambda line: line.startswith("READY "), START_LIMIT_S)
        self.addresses = dict(word.split("=", 1) for word in line.split()[1:])

    @property
    def gateway(self) -> Gateway:
        """Where devices connect."""
        host, _, port = self.addresses["internal_server.devices"].rpartition(":")
        return Gateway("127.0.0.1" if host in {"0.0.0.0", ""} else host, int(port))

    @property
    def api(self) -> str:
        """The control plane's API."""
        return f"http://{self.addresses['control_plane.api']}/api/v1"

    def pid_of(self, component: str) -> int:
        """Process id of a component of ours, as it wrote it down itself."""
        return int(self.note_of(component)["pid"])

    def note_of(self, component: str) -> dict[str, Any]:
        """What a component of ours wrote down about its present life: pid and addresses."""
        kind, _, number = component.partition(".")
        folder = self.state_dir / component if number else self.state_dir
        note: dict[str, Any] = json.loads((folder / f"run/{kind}.json").read_text())
        return note

    def pid_of_broker(self, configuration_name: str) -> int:
        """Process id of the broker that runs with this configuration file."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                command = Path(f"/proc/{child}/cmdline").read_bytes().decode()
                if configuration_name in command:
                    return int(child)
        raise AssertionError(f"no broker runs with {configuration_name}")

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await self._reading
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError("it does not stop:\n" + "\n".join(self.lines[-60:])) from None

    async def kill(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self.process.returncode is None:
            self.process.kill()  # its children end with it
        await self.process.wait()
        await self._reading


@asynccontextmanager
async def running_stack(
    settings: Mapping[str, object],
    *flags: str,
    environ: Mapping[str, str] | None = None,
    prepare: Callable[[Path], Awaitable[None]] | None = None,
) -> AsyncIterator[Stack]:
    """Start `run_all.py` with this configuration and wait until all of it is ready.

    The state folder is short-lived and has a short name: a Unix socket's path has 108 bytes.
    `prepare` gets it before anything runs.
    """
    state_dir = Path(tempfile.mkdtemp(prefix="mg-"))
    file = state_dir / "config.json"
    file.write_text(json.dumps(settings))
    if prepare is not None:
        await prepare(state_dir / "state")
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("IPC_MQTT", "PYTEST"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(REPOSITORY / "run_all.py"), *flags,
        "--config", str(file), "--state-dir", str(state_dir / "state"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**ours, "NO_COLOR": "1", **(environ or {})}, limit=2**20,
    )  # fmt: skip
    stack = Stack(process, state_dir / "state")
    try:
        await stack.wait_until_ready()
        yield stack
    finally:
        await stack.kill()
        shutil.rmtree(state_dir, ignore_errors=True)


class ControlPlaneApi:
    """The control plane as a user sees it: requests and the stream of events."""

    def __init__(self, base: str, client: httpx.AsyncClient) -> None:
        self._base = base
        self._client = client
        self.vehicle = f"{base}/vehicles/{COMPANY}/{VEHICLE}"

    async def get(self, url: str, **parameters: Any) -> Any:
        """The JSON answer."""
        answer = await self._client.get(url, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, url: str, body: object) -> Any:
        """The JSON answer to a request that was accepted."""
        answer = await self._client.post(url, json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def device(self, module: int, device_type: int, role: str) -> str:
        """Address of a device."""
        return f"{self.vehicle}/devices/{module}/{device_type}/{role}"

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Everything that happens from now on; the first item only says that we listen."""
        async with self._client.stream("GET", f"{self._base}/events", timeout=None) as stream:
            kind = ""
            async for line in stream.aiter_lines():
                if line.startswith(": listening"):
                    yield {"event": "listening"}
                elif line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield {"event": kind, **json.loads(line.removeprefix("data: "))}

    async def command(self, device: str, command: object, limit_s: float) -> str:
        """Post a command and wait until its fate is known; returns that."""
        events = self.events()
        try:
            async with asyncio.timeout(limit_s):
                await anext(events)
                posted = await self.post(f"{device}/commands", {"command": command})
                async for event in events:
                    if event["event"] == "command" and event["id"] == posted["id"]:
                        state = str(event["state"])
                        if state != "sent":
                            return state
        except TimeoutError:
            pass
        finally:
            await events.aclose()
        raise AssertionError(f"the command's fate is not known after {limit_s:g} s")

    async def statuses(self, wanted: set[str], limit_s: float) -> dict[str, dict[str, Any]]:
        """The next status of each wanted role, none older than the call, no DISCONNECT."""
        found: dict[str, dict[str, Any]] = {}
        events = self.events()
        try:
            async with asyncio.timeout(limit_s):
                async for event in events:
                    is_alive = event.get("state") in {"connecting", "running"}
                    if event["event"] == "status" and is_alive and event["role"] in wanted:
                        found.setdefault(event["role"], event)
                    if set(found) == wanted:
                        return found
        except TimeoutError:
            pass
        finally:
            await events.aclose()
        missing = sorted(wanted - set(found))
        raise AssertionError(f"no status of {missing} came within {limit_s:g} s")


@asynccontextmanager
async def control_plane_api(stack: Stack) -> AsyncIterator[ControlPlaneApi]:
    """A client for the stack's control plane."""
    async with httpx.AsyncClient(timeout=60.0, trust_env=False) as client:
        yield ControlPlaneApi(stack.api, client)


def demo_configuration(**sections: object) -> dict[str, object]:
    """For `run_all.py --demo` on free ports."""
    return configuration(free_port(), **sections)
