"""A real, private Mosquitto for tests: on a Unix socket, a loopback TCP port, or both.

Synchronous, so that any test can use it:

    with MosquittoBroker(tmp_path) as broker:          # Unix socket and TCP
        bus = MqttBus(broker.unix_location, "test")
        broker.kill(); broker.start()                  # an outage
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from module_gateway.bus.location import BusLocation

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0

_CONNECT: Final = bytes.fromhex("100d00044d5154540402000500017e")
"""CONNECT of MQTT 3.1.1, clean session, keepalive 5 s, client id "~"."""
_CONNACK_ACCEPTED: Final = bytes.fromhex("20020000")

_MAX_RESERVED: Final = 100
"""Far more than one test needs; each costs a descriptor."""
_RESERVED: Final[deque[socket.socket]] = deque()


def find_mosquitto() -> str | None:
    """Path of the broker's program; distributions put it where only root looks."""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin:/usr/local/sbin"
    return shutil.which("mosquitto", path=path)


def free_port() -> int:
    """A TCP port on 127.0.0.1 for a listener that sets SO_REUSEADDR, as all of ours do.

    It stays reserved while this process lives: a bound socket that does not listen keeps the
    system from giving the port to somebody else, before its listener starts and while it is down.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    port = int(reserved.getsockname()[1])
    _RESERVED.append(reserved)
    if len(_RESERVED) > _MAX_RESERVED:
        _RESERVED.popleft().close()
    return port


class BrokerProcess:
    """A broker whose files live in `folder`. Its addresses survive stop, kill and start."""

    def __init__(self, folder: Path, *, has_unix: bool, has_tcp: bool) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.socket_path = folder / "bus.sock" if has_unix else None
        self.port = free_port() if has_tcp else None

    def _command(self) -> list[str]:
        raise NotImplementedError

    @property
    def unix_location(self) -> BusLocation:
        """Where the bus is on the Unix socket."""
        assert self.socket_path is not None
        return BusLocation(self.socket_path)

    @property
    def tcp_location(self) -> BusLocation:
        """Where the bus is on 127.0.0.1."""
        assert self.port is not None
        return BusLocation(None, "127.0.0.1", self.port)

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the broker wrote so far."""
        return (self._folder / "broker.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it accepts an MQTT client on every listener."""
        assert self._process is None, "the broker runs already"
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_accepting():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the broker did not start:\n{self.log}")
            time.sleep(0.005)  # between two attempts to connect: there is no event to wait for

    def stop(self) -> None:
        """SIGTERM, as an operator stops it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a crash ends it."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Keep its connections open and do nothing (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.kill()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
            raise

    def _is_accepting(self) -> bool:
        addresses: list[tuple[socket.AddressFamily, str | tuple[str, int]]] = []
        if self.socket_path is not None:
            addresses.append((socket.AF_UNIX, str(self.socket_path)))
        if self.port is not None:
            addresses.append((socket.AF_INET, ("127.0.0.1", self.port)))
        return all(self._is_answering(family, address) for family, address in addresses)

    @staticmethod
    def _is_answering(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
        with socket.socket(family) as probe:
            probe.settimeout(START_TIMEOUT_S)
            try:
                probe.connect(address)
                probe.sendall(_CONNECT)
                return probe.recv(len(_CONNACK_ACCEPTED)) == _CONNACK_ACCEPTED
            except OSError:
                return False


class MosquittoBroker(BrokerProcess):
    """Mosquitto as the gateway configures it, on a Unix socket, a loopback port or both."""

    def __init__(self, folder: Path, *, has_unix: bool = True, has_tcp: bool = True) -> None:
        program = find_mosquitto()
        if program is None:
            raise FileNotFoundError("mosquitto is not installed (make setup)")
        self._program = program
        super().__init__(folder, has_unix=has_unix, has_tcp=has_tcp)

    def _command(self) -> list[str]:
        configuration = self._folder / "mosquitto.conf"
        configuration.write_text(self._configuration())
        return [self._program, "-c", str(configuration)]

    def _configuration(self) -> str:
        lines = [
            "per_listener_settings false",
            "allow_anonymous true",
            "persistence false",
            "max_inflight_messages 0",
            "max_queued_messages 0",
            "max_queued_bytes 268435456",
            "set_tcp_nodelay true",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # else it could not bind a socket in the test's folder
        if self.socket_path is not None:
            lines.append(f"listener 0 {self.socket_path}")
        if self.port is not None:
            lines.append(f"listener {self.port} 127.0.0.1")
        return "\n".join(lines) + "\n"


class TlsMosquittoBroker(MosquittoBroker):
    """Mosquitto that wants a client certificate at `tls_port`; its Unix socket is plain."""

    def __init__(self, folder: Path, authority: Path, certificate: Path, key: Path) -> None:
        super().__init__(folder, has_unix=True, has_tcp=False)
        self.tls_port = free_port()
        self._files = {"cafile": authority, "certfile": certificate, "keyfile": key}

    def _configuration(self) -> str:
        files = "".join(f"{option} {path}\n" for option, path in self._files.items())
        listener = f"listener {self.tls_port} 127.0.0.1\n{files}require_certificate true\n"
        return super()._configuration() + listener


class EmbeddedBroker(BrokerProcess):
    """The gateway's broker of last resort, on a loopback port."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, has_unix=False, has_tcp=True)

    def _command(self) -> list[str]:
        program = "module_gateway.runtime.embedded_broker"
        return [sys.executable, "-m", program, "--port", str(self.port)]


@contextmanager
def mosquitto(folder: Path) -> Iterator[MosquittoBroker]:
    """A running broker with both listeners."""
    with MosquittoBroker(folder) as broker:
        yield broker
