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
    level: str = "INFO"
    path: str = ""


class Logging(Section):
    """`format` "auto": coloured lines on a terminal, JSON lines elsewhere."""

    console: LogSink = LogSink(use=True)
    file: LogSink = LogSink()
    format: Literal["auto", "text", "json"] = "auto"


class BusSettings(Section):
    """Where the local bus is and how it is used (decisions: Bus)."""

    socket: Path | None = None
    host: str | None = None
    port: Port = 1883
    heartbeat_ms: Milliseconds = 500
    silence_ms: Milliseconds = 4000
    """T of R6: a peer that is silent for so long is gone. Long enough for a starved machine,
    short enough to be back within 15 s."""
    batch_bytes: int = Field(default=64 * 1024, ge=1024)
    unsent_messages: int = Field(default=20_000, ge=1)
    unsent_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    """Per receiver; a sender that reaches a bound stops reading its source."""


class InternalServerSettings(Section):
    """The listener for devices (FP 2)."""

    ip_address: str | None = None
    """None: loopback in our form, all interfaces in the existing gateway's."""
    port: LocalPort = 8888
    reply_window_ms: Milliseconds = 250
    connect_deadline_ms: Milliseconds = 5_000
    frame_deadline_ms: Milliseconds = 10_000
    inactivity_ms: Milliseconds = 30_000
    """Two heartbeat periods without a status (FP 2.7)."""
    write_deadline_ms: Milliseconds = 5_000
    max_frame_bytes: int = Field(default=1024 * 1024, ge=64)
    receive_budget_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """All connections together: 10,000 unfinished frames of 1 MiB must not fit."""
    write_buffer_bytes: int = Field(default=64 * 1024, ge=1024)
    max_connections: int = Field(default=12_000, ge=1)
    max_text_bytes: int = Field(default=256, ge=1)
    """Of role and of name; the smallest client's own limit is 128 (FP 1.5)."""
    unanswered_requests: int = Field(default=5_000, ge=1)
    """Towards one handler; beyond it the server stops reading devices."""
    keepalive_idle_s: int = Field(default=10, ge=1)
    keepalive_interval_s: int = Field(default=3, ge=1)
    keepalive_count: int = Field(default=3, ge=1)
    metrics_port: LocalPort = 9101


class ModuleHandlerSettings(Section):
    """Who keeps the truth about devices (FP 3)."""

    heartbeat_ms: Milliseconds = 15_000
    probe_window_ms: Milliseconds = 150
    """How long an incumbent may take to prove that it lives (R5); within the reply window."""
    external_commands: int = Field(default=3, ge=1)
    return_grace_ms: Milliseconds = 2_000
    """A device that we closed keeps its commands for so long (R21)."""
    max_identities: int = Field(default=20_000, ge=1)
    outbox_entries: int = Field(default=1_000, ge=2)
    outbox_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """Per identity; beyond either bound the oldest entries are folded into one (R8)."""
    delivery_window: int = Field(default=2_000, ge=1)
    delivery_window_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Deliveries that the external client has not taken yet."""
    module_time_limit_ms: Milliseconds = 50
    """A module call that takes longer is broken off; it harms its own device only."""
    partitions: str = "0-63"
    modules: tuple[int, ...] | None = None
    """None: every configured module."""
    metrics_port: LocalPort = 9102


class MqttSettings(Section):
    """TLS of one endpoint (FP 5.1); relative paths start at the configuration file's folder."""

    ssl: bool = False
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""


class Endpoint(Section):
    """One control plane and the modules that report to it."""

    protocol_type: Literal["mqtt"] = "mqtt"
    server_ip: str
    port: Port
    modules: tuple[int, ...]
    mqtt_settings: MqttSettings = MqttSettings()


class ExternalConnection(Section):
    """Who we are upstream, and where upstream is."""

    company: TopicName = "default_company"
    vehicle_name: TopicName = "default_vehicle"
    endpoints: tuple[Endpoint, ...] = ()


class ExternalClientSettings(Section):
    """The session with a control plane (FP 4)."""

    step_timeout_ms: Milliseconds = 5_000
    status_timeout_ms: Milliseconds = 30_000
    settle_ms: int = Field(default=200, ge=0)
    """Gap after the connect sequence (FP 4.4): a message that comes earlier leaves the existing
    external server one message behind."""
    backoff_min_ms: Milliseconds = 1_000
    backoff_max_ms: Milliseconds = 10_000
    pause_min_ms: Milliseconds = 1_000
    pause_max_ms: Milliseconds = 2_000
    """After a disconnect notification or the last device: the existing server is deaf (FP 4.9)."""
    keepalive_s: int = Field(default=15, ge=1)
    connect_timeout_ms: Milliseconds = 5_000
    unacknowledged: int = Field(default=16, ge=1)
    """Statuses in flight in one session; the existing server queues 20 (FP 1.5)."""
    quarantine_min_ms: Milliseconds = 30_000
    quarantine_max_ms: Milliseconds = 600_000
    stop_wait_ms: Milliseconds = 2_000
    metrics_port: LocalPort = 9103


class ControlPlaneSettings(Section):
    """The other side, for local use."""

    broker_host: str = "127.0.0.1"
    broker_port: Port = 18883
    http_host: str = "127.0.0.1"
    http_port: LocalPort = 8080
    step_timeout_ms: Milliseconds = 5_000
    session_timeout_ms: Milliseconds = 30_000
    """A session without any valid message; must exceed the gateway's heartbeat."""
    history_statuses: int = Field(default=1_000, ge=1)
    """Per device, oldest forgotten first."""
    max_vehicles: int = Field(default=1_000, ge=1)
    max_devices: int = Field(default=20_000, ge=1)
    """Of all vehicles together; a device beyond it is not acknowledged, as an unknown one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the API may be asked besides loopback ones (DNS rebinding); "*": any."""
    history_bytes: int = Field(default=1024 * 1024, ge=1024)
    """Per device."""
    history_total_bytes: int = Field(default=256 * 1024 * 1024, ge=1024)
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
    event_backlog: int = Field(default=1_000, ge=1)
    """Events that one listener may be behind before it is dropped."""
    metrics_port: LocalPort = 9104


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
    module_settings: dict[str, dict[str, Any]] = {}
    module_handler_settings: ModuleHandlerSettings = ModuleHandlerSettings()
    external_connection: ExternalConnection = ExternalConnection()
    external_client_settings: ExternalClientSettings = ExternalClientSettings()
    control_plane_settings: ControlPlaneSettings = ControlPlaneSettings()
    state_dir: Path | None = None

    _notices: tuple[str, ...] = PrivateAttr(())

    @property
    def notices(self) -> tuple[str, ...]:
        """What the loader wants the operator to know; one sentence each."""
        return self._notices

    def with_notices(self, notices: tuple[str, ...]) -> Settings:
        """The same settings with `notices` attached."""
        copy = self.model_copy()
        copy._notices = notices  # noqa: SLF001 - of this very class
        return copy
