"""Every setting, its default and the reason for it.

One immutable model per process, all with kebab-case keys as the existing gateway's files have
them. `config.load` reads a file into `Settings`; nothing else creates one outside of tests.
Durations carry their unit in the key. Sources: (FP) fleet-protocol, (R) contract rule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

Port = Annotated[int, Field(ge=1, le=65535)]
LocalPort = Annotated[int, Field(ge=0, le=65535)]
"""A port of ours; 0 lets the system choose."""
Milliseconds = Annotated[int, Field(ge=1)]
TopicName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class Section(BaseModel):
    """Base of all sections: frozen, kebab-case, nothing unknown."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )


class LogSink(Section):
    """One place where log lines go (FP 5.1)."""

    use: bool = False
    """Whether lines go there."""
    level: str = "INFO"
    """DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case."""
    path: str = ""
    """Folder of `ModuleGateway.log`, which must exist; for the file only."""


class Logging(Section):
    """`format` "auto": coloured lines on a terminal, JSON lines elsewhere."""

    console: LogSink = LogSink(use=True)
    file: LogSink = LogSink()
    format: Literal["auto", "text", "json"] = "auto"
    """auto, text or json: see above."""


class BusSettings(Section):
    """Where the local bus is and how it is used (decisions: Bus)."""

    socket: Path | None = None
    """Unix socket of a broker that runs already; none is started then."""
    host: str | None = None
    """Host of a broker that runs already; none is started then."""
    port: Port = 1883
    """Of `host`."""
    adapter: Literal["lean", "paho"] = "lean"
    """Who speaks MQTT on the bus: our own client, or the Eclipse library, which costs more."""
    heartbeat_ms: Milliseconds = 500
    """How often each process says that it lives (R6)."""
    silence_ms: Milliseconds = 4000
    """T of R6: a peer that is silent for so long is gone. Long enough for a starved machine,
    short enough to be back within 15 s."""
    batch_bytes: int = Field(default=64 * 1024, ge=1024)
    """Largest bus message; one larger entry travels alone."""
    unsent_messages: int = Field(default=20_000, ge=1)
    """Per receiver; see `unsent-bytes`."""
    unsent_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    """Per receiver; a sender that reaches a bound stops reading its source."""


class InternalServerSettings(Section):
    """The listener for devices (FP 2)."""

    ip_address: str | None = None
    """None: loopback in our form, all interfaces in the existing gateway's."""
    port: LocalPort = 8888
    """Where devices connect."""
    reply_window_ms: Milliseconds = 250
    """A device is answered within it or closed (FP 2.6)."""
    connect_deadline_ms: Milliseconds = 5_000
    """From the connection to a valid connect message (I15)."""
    frame_deadline_ms: Milliseconds = 10_000
    """From the first to the last byte of a message (I14)."""
    inactivity_ms: Milliseconds = 30_000
    """Two heartbeat periods without a status (FP 2.7)."""
    write_deadline_ms: Milliseconds = 5_000
    """A device that takes no bytes for so long is closed."""
    max_frame_bytes: int = Field(default=1024 * 1024, ge=64)
    """Of one message; a longer one closes the connection (FP 1.1)."""
    receive_budget_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """All connections together: 10,000 unfinished frames of 1 MiB must not fit."""
    write_buffer_bytes: int = Field(default=64 * 1024, ge=1024)
    """Per connection, for a device that reads slowly."""
    max_connections: int = Field(default=12_000, ge=1)
    """Further ones are closed at once."""
    max_text_bytes: int = Field(default=256, ge=1)
    """Of role and of name; the smallest client's own limit is 128 (FP 1.5)."""
    unanswered_requests: int = Field(default=5_000, ge=1)
    """Towards one handler; beyond it the server stops reading devices."""
    processes: int = Field(default=1, ge=1, le=16)
    """So many internal servers share the port (SO_REUSEPORT); for machines with free cores."""
    keepalive_idle_s: int = Field(default=10, ge=1)
    """TCP keep-alive: quiet time before the first probe (FP 2.9)."""
    keepalive_interval_s: int = Field(default=3, ge=1)
    """TCP keep-alive: time between probes."""
    keepalive_count: int = Field(default=3, ge=1)
    """TCP keep-alive: unanswered probes until the connection is dead."""
    metrics_port: LocalPort = 9101
    """/metrics, /healthz and /readyz on 127.0.0.1."""


class ModuleHandlerSettings(Section):
    """Who keeps the truth about devices (FP 3)."""

    heartbeat_ms: Milliseconds = 15_000
    """A quiet device's status is published again so often; two periods without a status drop
    it (FP 3.6)."""
    probe_window_ms: Milliseconds = 150
    """How long an incumbent may take to prove that it lives (R5); within the reply window."""
    external_commands: int = Field(default=3, ge=1)
    """Commands that wait for one device; the oldest gives way (FP 3.4)."""
    return_grace_ms: Milliseconds = 2_000
    """A device that we closed keeps its commands for so long (R21)."""
    max_identities: int = Field(default=20_000, ge=1)
    """Devices that are remembered; a new one beyond is refused."""
    durability: Literal["power", "process", "memory"] = "power"
    """What an answered status survives: a power cut, a crash of the process, or neither (R1)."""
    outbox_entries: int = Field(default=100_000, ge=2)
    """See `outbox-bytes`."""
    outbox_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """Per identity; beyond either bound the oldest entries are folded into one (R8)."""
    outbox_total_bytes: int = Field(default=2 * 1024 * 1024 * 1024, ge=1024)
    """Of all identities; beyond it the fullest log is folded."""
    outbox_age_s: int = Field(default=7 * 24 * 3600, ge=1)
    """Older entries are folded, by the wall clock."""
    delivery_window: int = Field(default=2_000, ge=1)
    """See `delivery-window-bytes`."""
    delivery_window_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Deliveries that the external client has not taken yet."""
    module_time_limit_ms: Milliseconds = 50
    """A module call that takes longer is broken off; it harms its own device only."""
    partitions: str = "0-63"
    """Which of the 64 partitions of its modules this handler owns."""
    processes: int = Field(default=1, ge=1, le=16)
    """So many handlers divide the partitions, each with a store of its own."""
    modules: tuple[int, ...] | None = None
    """None: every configured module."""
    metrics_port: LocalPort = 9102
    """/metrics, /healthz and /readyz on 127.0.0.1."""


class MqttSettings(Section):
    """TLS of one endpoint (FP 5.1); relative paths start at the configuration file's folder."""

    ssl: bool = False
    """true: TLS with all three files, or no start at all; never plaintext instead."""
    ca_file: str = ""
    """PEM certificates that the broker's certificate must lead to."""
    client_cert: str = ""
    """PEM certificate of this gateway."""
    client_key: str = ""
    """PEM key of `client-cert`, not encrypted."""


class Endpoint(Section):
    """One control plane and the modules that report to it."""

    protocol_type: Literal["mqtt"] = "mqtt"
    """mqtt; nothing else is supported."""
    server_ip: str
    """Host name or address of the MQTT broker."""
    port: Port
    """Usually 1883 in plaintext, 8883 with TLS."""
    modules: tuple[int, ...]
    """Numbers of `module-paths`."""
    mqtt_settings: MqttSettings = MqttSettings()


class ExternalConnection(Section):
    """Who we are upstream, and where upstream is."""

    company: TopicName = "default_company"
    """First word of the MQTT topics: lower-case letters, digits, `_`."""
    vehicle_name: TopicName = "default_vehicle"
    """Second word of the MQTT topics, likewise."""
    endpoints: tuple[Endpoint, ...] = ()
    """One control plane and the modules that report to it; a module is in one endpoint."""


class ExternalClientSettings(Section):
    """The session with a control plane (FP 4)."""

    step_timeout_ms: Milliseconds = 5_000
    """Wait for each message of the connect sequence (FP 4.4)."""
    status_timeout_ms: Milliseconds = 30_000
    """Wait for the acknowledgement of a status (FP 4.5)."""
    settle_ms: int = Field(default=200, ge=0)
    """Gap after the connect sequence (FP 4.4): a message that comes earlier leaves the existing
    external server one message behind."""
    backoff_min_ms: Milliseconds = 1_000
    """Pause after a failed session, doubled each time, with jitter."""
    backoff_max_ms: Milliseconds = 10_000
    """Its upper limit."""
    pause_min_ms: Milliseconds = 1_000
    """See `pause-max-ms`."""
    pause_max_ms: Milliseconds = 2_000
    """After a disconnect notification or the last device: the existing server is deaf (FP 4.9)."""
    keepalive_s: int = Field(default=15, ge=1)
    """MQTT keep-alive (FP 4.1)."""
    connect_timeout_ms: Milliseconds = 5_000
    """For the connection to the MQTT broker."""
    unacknowledged: int = Field(default=16, ge=1)
    """Statuses in flight in one session; the existing server queues 20 (FP 1.5)."""
    quarantine_min_ms: Milliseconds = 30_000
    """First time for which a device that the server does not know is left out (R16)."""
    quarantine_max_ms: Milliseconds = 600_000
    """Its upper limit after repeated failures."""
    stop_wait_ms: Milliseconds = 2_000
    """At the end, for the acknowledgement of each device's DISCONNECT (E23)."""
    metrics_port: LocalPort = 9103
    """/metrics, /healthz and /readyz on 127.0.0.1."""


class ControlPlaneSettings(Section):
    """The other side, for local use."""

    broker_host: str = "127.0.0.1"
    """The MQTT broker that gateways connect to."""
    broker_port: Port = 18883
    """Its port; `run_all.py --demo` starts one there."""
    http_host: str = "127.0.0.1"
    """Where page and API listen."""
    http_port: LocalPort = 8080
    """Likewise."""
    step_timeout_ms: Milliseconds = 5_000
    """Wait for each message of the connect sequence."""
    session_timeout_ms: Milliseconds = 30_000
    """A session without any valid message; must exceed the gateway's heartbeat."""
    database: str = "sqlite"
    """Where everything is kept: "sqlite" (`control_plane.db` in the state folder), a URL such as
    "postgresql://user@host/name" or "sqlite:////path/to/file", or "memory", which forgets."""
    history_statuses: int = Field(default=10_000, ge=1)
    """Per device, oldest forgotten first."""
    history_age_s: int = Field(default=30 * 86_400, ge=1)
    """Older statuses are forgotten, but the last one of each device (not with "memory")."""
    vehicles: tuple[str, ...] = ()
    """Those that are served, as "company/vehicle"; with `auto-register` also all others."""
    auto_register: bool = True
    """Serve a vehicle as soon as it is heard. Without it only those of `vehicles`."""
    max_vehicles: int = Field(default=1_000, ge=1)
    """Further ones are not served."""
    max_devices: int = Field(default=20_000, ge=1)
    """Of all vehicles together; a device beyond it is not acknowledged, as an unknown one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the API may be asked besides loopback ones (DNS rebinding); "*": any."""
    history_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    """Per device."""
    history_total_bytes: int = Field(default=1024 * 1024 * 1024, ge=1024)
    """Of all devices; beyond it each device keeps no more than its equal share."""
    early_statuses: int = Field(default=64, ge=1)
    """Statuses of a session that wait for a missing one before them."""
    commands_waiting: int = Field(default=20, ge=1)
    """Per device, posted and not sent yet."""
    command_valid_ms: Milliseconds = 30_000
    """How long a posted command may wait for its device: nothing stale moves a vehicle (R21)."""
    command_window: int = Field(default=16, ge=1)
    """Commands sent to one vehicle and not answered yet."""
    body_bytes: int = Field(default=256 * 1024, ge=1024)
    """Of one HTTP request."""
    event_listeners: int = Field(default=64, ge=1)
    """Open server-sent event streams."""
    event_backlog: int = Field(default=1_000, ge=1)
    """Events that one listener may be behind before it is dropped."""
    metrics_port: LocalPort = 9104
    """/metrics, /healthz and /readyz on 127.0.0.1."""


class SupervisorSettings(Section):
    """What `run_all.py` does about its processes."""

    hung_limit_ms: Annotated[int, Field(ge=2_000)] = 10_000
    """A process without progress for so long is killed and started again. A stall of the whole
    machine does not count; a healthy process says each second that it lives."""


DEFAULT_MODULE_PATHS: dict[str, str] = {
    "1": "mission",
    "2": "io",
    "3": "transparent",
    "1000": "example",
    "1001": "car_accessory",
}


class Settings(Section):
    """Everything that the gateway can be told."""

    config_version: Literal[1] | None = None
    """1 marks a file in our own form: unknown keys are errors there, warnings elsewhere."""
    logging: Logging = Logging()
    bus: BusSettings = BusSettings()
    internal_server_settings: InternalServerSettings = InternalServerSettings()
    module_paths: dict[str, str] = DEFAULT_MODULE_PATHS
    """Module number -> built-in name, `package.module:Class`, entry point, or a native
    library's path."""
    module_settings: dict[str, dict[str, Any]] = {}
    """Module number -> what its module lets you set: `codec`, `strict-compat`, `replay`,
    `push-only`, …"""
    module_handler_settings: ModuleHandlerSettings = ModuleHandlerSettings()
    external_connection: ExternalConnection = ExternalConnection()
    external_client_settings: ExternalClientSettings = ExternalClientSettings()
    control_plane_settings: ControlPlaneSettings = ControlPlaneSettings()
    supervisor_settings: SupervisorSettings = SupervisorSettings()
    state_dir: Path | None = None
    """Store, bus socket and run notes; default `$XDG_STATE_HOME/module-gateway`. Relative to
    the file."""

    _notices: tuple[str, ...] = PrivateAttr(())
    _source: str = PrivateAttr("")

    @property
    def notices(self) -> tuple[str, ...]:
        """What the loader wants the operator to know; one sentence each."""
        return self._notices

    @property
    def source(self) -> str:
        """The file that these settings are from, "" for none."""
        return self._source

    def with_notices(self, notices: tuple[str, ...]) -> Settings:
        """The same settings with `notices` attached."""
        copy = self.model_copy()
        copy._notices = notices  # noqa: SLF001 - of this very class
        return copy

    def from_file(self, source: str) -> Settings:
        """The same settings with the name of their file attached."""
        copy = self.model_copy()
        copy._source = source  # noqa: SLF001 - of this very class
        return copy
