"""Everything together: one gateway, its devices and its control plane under one seed's weather."""

from __future__ import annotations

from collections import Counter

from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device, Identity
from tests.simulation.devices import SimDevice, SimServer
from tests.simulation.handler import MODULE, SMALL_LOG, SimHandler, SimStore, limits
from tests.simulation.ledger import Ledger, TraceModule
from tests.simulation.schedule import Schedule
from tests.simulation.upstream import SimClient, SimPlane, plane_store
from tests.simulation.wires import Chances, LocalBus, UpstreamBroker

WILD_S = 15.0
SETTLE_LIMIT_S = 240.0
"""Back-offs, a session that times out, an inactivity period, one after the other."""


class World:
    """One run. `run` raises `BrokenPromiseError`, or whatever else the product throws."""

    def __init__(self, seed: int, *, is_traced: bool = False) -> None:
        self.schedule = Schedule(seed)
        if is_traced:
            self.schedule.trace = []
        rng = self.schedule.rng
        self.ledger = Ledger(self.schedule)
        self.module = TraceModule()
        self.chances = Chances(
            bus_delay_s=rng.choice((0.001, 0.01, 0.05)),
            upstream_delay_s=rng.choice((0.01, 0.1, 0.4)),
        )
        self.ledger.is_replaying = rng.random() < 0.5
        # A bound that is passed again and again; with replay it is out of reach.
        log_entries = rng.choice((SMALL_LOG, 1_000, 1_000))
        self.ledger.tolerates_repeats = log_entries == SMALL_LOG
        self.replayed_modules = frozenset({MODULE} if self.ledger.is_replaying else ())
        deep_entries = rng.choice((3, 3, 1_000))  # a backlog that a handler folds for a new client
        window = rng.choice((3, 2_000))
        self.limits = limits(log_entries, window, self.replayed_modules, deep_entries)
        self.refused: Counter[Reason] = Counter()
        self.is_wild = True
        self.is_gateway_cut = self.is_plane_cut = False
        self.away_since: dict[Identity, float] = {}
        self._commands = 0
        self.bus = LocalBus(self.schedule, self.chances)
        self.upstream = UpstreamBroker(self.schedule, self.chances)
        self.store = SimStore(self)
        self.plane_store = plane_store()
        self.handler: SimHandler | None = SimHandler(self, self.store)
        self.client: SimClient | None = SimClient(self)
        self.plane: SimPlane | None = SimPlane(self, self.plane_store)
        self.servers: list[SimServer | None] = [SimServer(self) for _ in range(rng.choice((1, 2)))]
        self.devices = self._make_devices()

    def _make_devices(self) -> list[SimDevice]:
        rng = self.schedule.rng
        devices = []
        for role in "ab"[: rng.randint(1, 2)]:
            identity = Identity(MODULE, 0, role)
            for number in range(1, rng.choice((2, 2, 3))):
                device = Device(identity, f"{role} {number}", rng.randrange(2))
                devices.append(SimDevice(self, device, number, rng.choice((0.3, 1.0, 2.0))))
        return devices

    def count(self, reason: Reason, times: int = 1) -> None:
        self.refused[reason] += times

    def server_for(self, device: SimDevice) -> SimServer | None:
        return self.schedule.rng.choice(self.servers)

    # The weather

    def run(self) -> None:
        """Faults for a while, then calm; everything must be whole again."""
        schedule, rng = self.schedule, self.schedule.rng
        until = schedule.now + WILD_S
        pause_s = rng.choice((0.4, 1.5, 5.0))
        while schedule.now < until:
            schedule.run(schedule.now + rng.expovariate(1.0 / pause_s))
            rng.choice(self.FAULTS)(self)
        self._calm_down()
        self._wait_for(self._is_serving, "a device gets no answer, or no session comes up")
        for device in self.devices:
            device.is_going = False
            device.leave(0.0)
        self._wait_for(self._is_empty, "something is kept for devices that have left")
        self.ledger.check_end()

    def _calm_down(self) -> None:
        self.schedule.say("calm")
        self.is_wild = False
        self.chances.calm()
        self.is_gateway_cut = self.is_plane_cut = False
        if not self.bus.is_up:
            self.bus.start()
        seen = set()
        for device in self.devices:
            if device.device.identity in seen:
                device.is_going = False
                device.leave(0.0)
            seen.add(device.device.identity)

    def _wait_for(self, is_done: object, complaint: str) -> None:
        deadline = self.schedule.now + SETTLE_LIMIT_S
        while not is_done():  # type: ignore[operator]
            if self.schedule.now > deadline:
                self.ledger.fail(complaint, self.handler and self.handler.core.sizes())
            self.schedule.run(self.schedule.now + 3.0)

    def _is_serving(self) -> bool:
        recently = self.schedule.now - 6.0
        devices = [each for each in self.devices if each.is_going]
        is_up = self.client is not None and self.client.endpoint.is_up
        return is_up and all(each.answered_at > recently for each in devices)

    def _is_empty(self) -> bool:
        return self.handler is not None and not any(self.handler.core.sizes().values())

    # Faults

    def _crash_handler(self) -> None:
        if self.handler is not None:
            self.schedule.say("handler dies")
            self.handler.crash()
            self.handler = None
            self.schedule.after(self._pause_s(), self._start_handler)

    def _start_handler(self) -> None:
        self.schedule.say("handler starts")
        self.handler = SimHandler(self, self.store)

    def _crash_server(self) -> None:
        index = self.schedule.rng.randrange(len(self.servers))
        server = self.servers[index]
        if server is None:
            return
        self.schedule.say("server dies")
        server.crash()
        self.servers[index] = None
        for device in self.devices:
            device.lose(server)
        self.schedule.after(self._pause_s(), self._start_server, index)

    def _start_server(self, index: int) -> None:
        self.schedule.say("server starts")
        self.servers[index] = SimServer(self)

    def _crash_client(self) -> None:
        if self.client is not None:
            self.schedule.say("client dies")
            self.client.crash()
            self.client = None
            self.schedule.after(self._pause_s(), self._start_client)

    def _cut_power(self) -> None:
        """Of the gateway. Its client is new then, and takes over whatever has gathered."""
        self._crash_handler()
        self._crash_client()

    def restart_client(self) -> None:
        """It ended by itself: another one has taken over, it was told."""
        self._crash_client()

    def _start_client(self) -> None:
        self.schedule.say("client starts")
        self.client = SimClient(self)

    def _crash_plane(self) -> None:
        if self.plane is not None:
            self.schedule.say("plane dies")
            self.plane.crash()
            self.plane = None
            self.schedule.after(self._pause_s(), self._start_plane)

    def _start_plane(self) -> None:
        self.schedule.say("plane starts")
        self.plane = SimPlane(self, self.plane_store)

    def _stop_bus(self) -> None:
        if self.bus.is_up:
            self.bus.stop()
            self.schedule.after(self.schedule.rng.choice((0.1, 1.0, 6.0)), self._start_bus)

    def _start_bus(self) -> None:
        if not self.bus.is_up:
            self.bus.start()

    def _cut_gateway(self) -> None:
        self.schedule.say("gateway cut")
        self.is_gateway_cut = True
        self.upstream.down(self.upstream.gateway)
        self.schedule.after(self._cut_s(), self._mend_gateway)

    def _mend_gateway(self) -> None:
        self.is_gateway_cut = False

    def _cut_plane(self) -> None:
        self.schedule.say("plane cut")
        self.is_plane_cut = True
        self.upstream.down(self.upstream.plane)
        self.schedule.after(self._cut_s(), self._mend_plane)

    def _mend_plane(self) -> None:
        self.is_plane_cut = False

    def _change_chances(self) -> None:
        rng, chances = self.schedule.rng, self.chances
        chances.bus_loss = rng.choice((0.0, 0.0, 0.02, 0.2))
        chances.bus_repeat = rng.choice((0.0, 0.0, 0.02, 0.2))
        chances.upstream_repeat = rng.choice((0.0, 0.02, 0.2))
        chances.commit_failure = rng.choice((0.0, 0.0, 0.05, 0.3))
        chances.plane_failure = rng.choice((0.0, 0.0, 0.05))

    def _set_clock(self) -> None:
        self.schedule.wall_offset_ms = self.schedule.rng.choice(
            (-86_400_000, -3_600_000, 0, 3_600_000)
        )

    def _command(self) -> None:
        if self.plane is None:
            return
        for _ in range(self.schedule.rng.choice((1, 1, 2, 5))):
            device = self.schedule.rng.choice(self.devices).device
            self._commands += 1
            command = f"{device.identity.role}-{self._commands}".encode()
            self.ledger.commands[command] = (device.identity, self._commands, self.schedule.now)
            self.plane.command(device, command, self._commands)

    FAULTS = (
        _crash_handler,
        _crash_handler,
        _crash_server,
        _crash_client,
        _crash_client,
        _cut_power,
        _crash_plane,
        _stop_bus,
        _cut_gateway,
        _cut_gateway,
        _cut_plane,
        _change_chances,
        _change_chances,
        _set_clock,
        _command,
        _command,
        _command,
        _command,
    )

    def _pause_s(self) -> float:
        return self.schedule.rng.choice((0.05, 0.3, 1.0, 3.0))

    def _cut_s(self) -> float:
        return self.schedule.rng.choice((0.1, 1.0, 6.0, 15.0))
