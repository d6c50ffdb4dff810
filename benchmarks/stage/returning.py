"""From the return of our own control plane to its first status: killed alone, or with its broker.

Real processes: a gateway, devices that keep sending, Mosquitto, and the control plane, which goes
without a word (SIGKILL) and is started again. The clock begins when it says that it is ready: its
API answers and it has subscribed at the broker.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.stage.gateways import (
    COMPANY,
    REPOSITORY,
    STOP_LIMIT_S,
    VEHICLE,
    Gateway,
    configuration,
    our_gateway,
)
from benchmarks.stage.programs import Program, Toolbox
from benchmarks.stage.round_trips import Sample
from tests.brokers import MosquittoBroker, free_port

DEVICES: Final = 10
RATE_HZ: Final = 100
FIRST: Final = 800_000
LIMIT_S: Final = 60.0
CALM_S: Final = 3.0
"""Between two losses: what follows a session that was lost at once is another measurement."""
POLL_S: Final = 0.02


class OwnControlPlane:
    """The process, started any number of times with the same state folder and port."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        folder.mkdir()
        port = free_port()
        file = folder / "control.json"
        file.write_text(json.dumps({
            "config-version": 1,
            "module-paths": {"1001": "car_accessory"},
            "control-plane-settings": {
                "broker-port": broker_port, "http-port": port, "metrics-port": 0,
            },
        }))  # fmt: skip
        self._url = f"http://127.0.0.1:{port}/api/v1/vehicles/{COMPANY}/{VEHICLE}"
        self._command = (
            *(sys.executable, "-m", "module_gateway", "control-plane"),
            *("--config", str(file), "--state-dir", str(folder / "s")),
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; when it was ready, in Unix milliseconds.

        Raises:
            RuntimeError: it ended instead.
        """
        process = self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=REPOSITORY
        )
        assert process.stdout is not None
        said: list[bytes] = []
        for line in process.stdout:
            said.append(line)
            if b'"ready"' in line:
                return time.time() * 1000
        raise RuntimeError(f"the control plane did not start:\n{b''.join(said).decode()}")

    def kill(self) -> None:
        """As a crash ends it."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(STOP_LIMIT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def first_status_unix_ms(self, since_unix_ms: float) -> float:
        """When the first status after that moment came; waits for it.

        Raises:
            TimeoutError: none came.
        """
        deadline = time.monotonic() + LIMIT_S
        while True:
            came = [
                status["received_unix_ms"]
                for device in self._devices()
                for status in self._history(device, round(since_unix_ms))
            ]
            if came:
                return float(min(came))
            if time.monotonic() > deadline:
                raise TimeoutError("the control plane gets no status")
            time.sleep(POLL_S)

    def _history(self, device: dict[str, Any], since_unix_ms: int) -> list[dict[str, Any]]:
        place = f"/devices/{device['module']}/{device['device_type']}/{device['role']}"
        url = f"{self._url}{place}/history?since={since_unix_ms}&limit=1"
        with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def _devices(self) -> list[dict[str, Any]]:
        try:
            with urllib.request.urlopen(self._url, timeout=LIMIT_S) as answer:
                found: list[dict[str, Any]] = json.load(answer)["devices"]
        except urllib.error.HTTPError as error:
            error.close()
            return []  # it does not know the vehicle yet
        return found


@dataclass(frozen=True)
class Stage:
    """A gateway with devices at work and its control plane."""

    gateway: Gateway
    broker: MosquittoBroker
    control_plane: OwnControlPlane

    def lose(self, outage_s: float, *, with_broker: bool) -> Sample:
        """Take the control plane away for so long; how soon it has a status again."""
        time.sleep(CALM_S)
        self.control_plane.kill()
        if with_broker:
            self.broker.kill()
        lost_unix_ms = time.time() * 1000
        time.sleep(outage_s)
        if with_broker:
            self.broker.start()
        ready_unix_ms = self.control_plane.start()
        came_unix_ms = self.control_plane.first_status_unix_ms(lost_unix_ms)
        return {"first_status_ms": max(0.0, came_unix_ms - ready_unix_ms), "outage_s": outage_s}


@contextmanager
def own_stage(toolbox: Toolbox, folder: Path, durability: str = "power") -> Iterator[Stage]:
    """Everything up, statuses arriving."""
    folder.mkdir()
    with ExitStack() as stack:
        (folder / "up").mkdir()
        broker = stack.enter_context(MosquittoBroker(folder / "up", has_unix=False))
        assert broker.port is not None
        control_plane = OwnControlPlane(folder / "c", broker.port)
        stack.callback(control_plane.kill)
        begun_unix_ms = control_plane.start()
        settings = configuration(broker.port, durability)
        gateway = stack.enter_context(our_gateway(folder / "g", settings))
        words = (gateway.host, gateway.port, DEVICES, FIRST, 1001, 1)
        load = stack.enter_context(Program(toolbox.command("load", *words)))
        load.ask("connect")
        load.tell(f"run seconds=100000 rate={RATE_HZ} different=1")
        stack.callback(load.process.kill)
        control_plane.first_status_unix_ms(begun_unix_ms)
        yield Stage(gateway, broker, control_plane)
