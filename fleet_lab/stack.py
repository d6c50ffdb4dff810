"""A gateway, a control plane and the broker between them, for a demo on one machine.

All of it is started by command and spoken to from outside, as any other gateway would be. The
gateway's own supervisor keeps its processes; the control plane stands beside it, so that it can be
away while nobody starts it again.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet_lab.children import Child, own_environment
from fleet_lab.errors import LabError

LOOPBACK: Final = "127.0.0.1"
COMPANY: Final = "fleet_lab"
VEHICLE: Final = "demo"
MODULES: Final = (1, 2, 3, 1000, 1001)
BROKER_PORTS: Final[range] = range(18890, 18990)
"""Below the ports that the system gives to clients: one that retries would find itself there."""
PATIENCE_MS: Final = {
    "status-timeout-ms": 10_000, "step-timeout-ms": 2_000, "backoff-max-ms": 2_000,
}  # fmt: skip
"""A demo is short, so its gateway notices an outage and looks for its control plane sooner than one
with a mobile link, whose defaults are 30 s, 5 s and 10 s (fleet-protocol 4.6)."""
_ADMIN_FOLDERS: Final = "/usr/sbin:/usr/local/sbin"  # Debian's place, not on everybody's PATH


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of a running stack is, as `host:port`."""

    devices: str
    broker_port: int
    control_plane: str


class Stack:
    """Use it as `async with Stack(folder) as stack`.

    Args:
        folder: for configuration, state and logs; its path is short, a Unix socket lies in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.broker = self._child("upstream-broker", *_broker(folder, self._port))
        options = self._options()
        self.control_plane = self._child(
            "control-plane",
            (*_gateway("control-plane"), *options, "--log-format", "json"),
            '"event": "ready"',
        )
        self.gateway = self._child("gateway", (*_gateway("run"), *options), "READY ")

    async def __aenter__(self) -> tuple[Stack, Places]:
        """Start it in the order of need.

        Raises:
            LabError: one of them does not become ready.
        """
        try:
            await self.broker.start()
            said = json.loads(await self.control_plane.start())
            ready = await self.gateway.start()
            addresses = dict(word.split("=", 1) for word in ready.split()[1:])
            devices = addresses["internal_server.devices"]
        except BaseException:
            await self.close()
            raise
        return self, Places(devices, self._port, said["api"])

    async def __aexit__(self, *_: object) -> None:
        """Stop all of it, devices' side first."""
        await self.close()

    async def close(self) -> None:
        """Stop what runs."""
        for child in (self.gateway, self.control_plane, self.broker):
            await child.stop()

    def _child(self, name: str, command: tuple[str, ...], ready: str) -> Child:
        return Child(
            name,
            command,
            log=self._folder / f"{name}.log",
            ready=ready,
            environ=own_environment(),
        )

    def _options(self) -> tuple[str, ...]:
        file = self._folder / "gateway.json"
        file.write_text(json.dumps(configuration(self._port), indent=1), encoding="utf-8")
        return ("--config", str(file), "--state-dir", str(self._folder / "state"))


def configuration(broker_port: int) -> dict[str, object]:
    """Every built-in module, every port a free one."""
    any_port = {"metrics-port": 0}
    return {
        "config-version": 1,
        "internal-server-settings": {"port": 0, **any_port},
        "module-handler-settings": any_port,
        "external-client-settings": {**PATIENCE_MS, **any_port},
        "control-plane-settings": {"broker-port": broker_port, "http-port": 0, **any_port},
        "external-connection": {
            "company": COMPANY,
            "vehicle-name": VEHICLE,
            "endpoints": [
                {
                    "protocol-type": "mqtt", "server-ip": LOOPBACK, "port": broker_port,
                    "modules": list(MODULES),
                }
            ],
        },
    }  # fmt: skip


def free_port() -> int:
    """A port for the broker; two labs that start at once look at different ones first.

    Raises:
        LabError: all of them are taken.
    """
    ports = list(BROKER_PORTS)
    turn = os.getpid() % len(ports)
    for port in ports[turn:] + ports[:turn]:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    first, last = BROKER_PORTS[0], BROKER_PORTS[-1]
    raise LabError(f"no port from {first} to {last} is free on {LOOPBACK} for the broker")


def _broker(folder: Path, port: int) -> tuple[tuple[str, ...], str]:
    """(command, what it says when ready): Mosquitto, else the gateway's embedded broker."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{_ADMIN_FOLDERS}")
    if program is None:
        embedded = ("module_gateway.runtime.embedded_broker", "--port", str(port))
        return (sys.executable, "-m", *embedded), "embedded broker: ready"
    conf = folder / "upstream-broker.conf"
    conf.write_text(
        f"listener {port} {LOOPBACK}\nallow_anonymous true\npersistence false\n"
        "set_tcp_nodelay true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
        "log_dest stderr\nlog_type error\nlog_type warning\nlog_type information\n",
        encoding="utf-8",
    )
    return (program, "-c", str(conf)), " running"


def _gateway(command: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "module_gateway", command)
