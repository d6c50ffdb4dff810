"""The gateways under load: ours with all its processes, the empty one, or a foreign one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.stage.programs import Program, Toolbox

REPOSITORY: Final = Path(__file__).resolve().parents[2]
START_LIMIT_S: Final = 60.0
STOP_LIMIT_S: Final = 30.0
COMPANY: Final = "bench"
VEHICLE: Final = "van"
MODULE: Final = 1001
"""car_accessory: its send condition holds for every status that differs."""


@dataclass(frozen=True)
class Gateway:
    """Where devices connect, and the processes whose CPU time and memory count."""

    host: str
    port: int
    root_pids: tuple[int, ...] = ()
    state_dir: Path | None = None

    def pids(self) -> tuple[int, ...]:
        """All processes at this moment, children included."""
        return tuple(pid for root in self.root_pids for pid in family(root))

    def pid_of(self, word: str) -> int:
        """The one whose command line has `word` in it."""
        for pid in self.pids():
            if word in command_line(pid):
                return pid
        raise LookupError(f"no process of the gateway is a {word}")

    def memory_kib(self, pids: tuple[int, ...] | None = None) -> dict[str, int]:
        """Sums over its processes: resident, and the proportional share of shared pages."""
        sums = {"rss": 0, "pss": 0}
        for pid in pids if pids is not None else self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name.lower() in sums:
                    sums[name.lower()] += int(rest.split()[0])
        return sums


def family(pid: int) -> Iterator[int]:
    """A process and all its descendants that live."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():
        return
    yield pid
    for task in tasks.iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def command_line(pid: int) -> str:
    """The words with which a process was started."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def configuration(upstream_port: int, durability: str, modules: int = 1) -> dict[str, Any]:
    """Our configuration: what is measured is the default, but for ports and the modules."""
    own: dict[str, Any] = {"metrics-port": 0}
    numbers = [MODULE + number for number in range(modules)]
    return {
        "config-version": 1,
        "internal-server-settings": {"port": 0, **own},
        "module-paths": {str(number): "car_accessory" for number in numbers},
        "module-handler-settings": {"durability": durability, **own},
        "external-client-settings": own,
        "external-connection": {
            "company": COMPANY,
            "vehicle-name": VEHICLE,
            "endpoints": [{"server-ip": "127.0.0.1", "port": upstream_port, "modules": numbers}],
        },
    }


@contextmanager
def our_gateway(
    folder: Path, settings: dict[str, Any], checkout: Path = REPOSITORY
) -> Iterator[Gateway]:
    """A whole gateway of ours, with a bus broker and a state folder of its own.

    `checkout`: where its source is, so that two states of it can be compared.

    Raises:
        RuntimeError: it ended instead of getting ready.
    """
    folder.mkdir(exist_ok=True)
    file, state_dir = folder / "gateway.json", folder / "s"
    file.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "module_gateway", "run", "--config", str(file)]
    process = subprocess.Popen(
        [*command, "--state-dir", str(state_dir), "--log-level", "warning"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
    )
    try:
        yield Gateway("127.0.0.1", _device_port(process), (process.pid,), state_dir)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _device_port(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    lines: deque[bytes] = deque(maxlen=30)
    for line in process.stdout:
        lines.append(line)
        if line.startswith(b"READY "):
            words = dict(word.split("=", 1) for word in line.decode().split()[1:])
            return int(words["internal_server.devices"].rsplit(":", 1)[1])
    raise RuntimeError(f"the gateway did not start:\n{b''.join(lines).decode()}")


@contextmanager
def empty_gateway(toolbox: Toolbox) -> Iterator[Gateway]:
    """The calibration gateway."""
    with Program(toolbox.command("calibration")) as program:
        yield Gateway("127.0.0.1", int(program.read_line()), (program.pid,))
