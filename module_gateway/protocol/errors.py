"""What can go wrong, and the one list of words for it.

    GatewayError
    ├── ConfigError            a file, a key or a flag is not what it must be
    ├── ProtocolError
    │   ├── LocalProtocolError     we broke the protocol: a defect of ours
    │   └── RemoteProtocolError    the peer broke it: carries a Reason
    ├── BusError               the local bus did not do what was asked
    ├── StoreError             a commit failed or its outcome is unknown
    └── ModuleError            a module said NOT_OK, raised, hung or returned nonsense

`Reason` is the label of every counter and log line about something refused or dropped.
"""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Reason(StrEnum):
    """Why something was refused, closed or dropped: metric label, log field and test word."""

    # Frames and messages of a device
    FRAME_EMPTY = "frame_empty"
    FRAME_TOO_LARGE = "frame_too_large"
    FRAME_DEADLINE = "frame_deadline"
    BUFFER_BUDGET = "buffer_budget"
    UNDECODABLE = "undecodable"
    NO_MESSAGE = "no_message"
    UNEXPECTED_MESSAGE = "unexpected_message"
    OTHER_DEVICE = "other_device"
    DEVICE_FORM = "device_form"

    # Life of a connection
    CLOSED_BY_PEER = "closed_by_peer"
    CONNECT_DEADLINE = "connect_deadline"
    REPLY_TIMEOUT = "reply_timeout"
    INACTIVE = "inactive"
    TAKEN_OVER = "taken_over"
    NOT_READING = "not_reading"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    SEQUENCE_GAP = "sequence_gap"
    INSTANCE_ENDED = "instance_ended"
    SHUTDOWN = "shutdown"

    # Connect decision (fleet-protocol 1.2, ResponseType)
    ALREADY_CONNECTED = "already_connected"
    HIGHER_PRIORITY_ALREADY_CONNECTED = "higher_priority_already_connected"
    MODULE_NOT_SUPPORTED = "module_not_supported"
    DEVICE_NOT_SUPPORTED = "device_not_supported"
    TOO_MANY_IDENTITIES = "too_many_identities"
    FAULT_INJECTED = "fault_injected"
    DEFECT = "defect"

    # Statuses and commands
    STATUS_INVALID = "status_invalid"
    COMMAND_INVALID = "command_invalid"
    COMMAND_EMPTY = "command_empty"
    COMMAND_SUPERSEDED = "command_superseded"
    COMMAND_DEVICE_LEFT = "command_device_left"
    COMMAND_STALE_SESSION = "command_stale_session"
    COMMAND_REPEATED = "command_repeated"
    COMMAND_OUT_OF_ORDER = "command_out_of_order"
    DEVICE_NOT_CONNECTED = "device_not_connected"
    MODULE_FAILED = "module_failed"
    MODULE_HUNG = "module_hung"

    # Bus and outbox
    BUS_DOWN = "bus_down"
    BUS_VERSION = "bus_version"
    PEER_LOST = "peer_lost"
    QUEUE_FULL = "queue_full"
    NO_HANDLER = "no_handler"
    LATE_REPLY = "late_reply"
    STALE_LEASE = "stale_lease"
    OUTBOX_COMPACTED = "outbox_compacted"
    STORE_FAILED = "store_failed"

    # Sessions upstream
    BROKER_UNREACHABLE = "broker_unreachable"
    BROKER_LOST = "broker_lost"
    TLS_INCOMPLETE = "tls_incomplete"
    WRONG_SESSION = "wrong_session"
    ALREADY_LOGGED = "already_logged"
    STEP_TIMEOUT = "step_timeout"
    ACK_TIMEOUT = "ack_timeout"
    ACK_UNKNOWN = "ack_unknown"
    DISCONNECT_NOTIFIED = "disconnect_notified"
    COUNTER_EXHAUSTED = "counter_exhausted"
    FOLD_IN_SESSION = "fold_in_session"
    BUFFER_PURGED = "buffer_purged"
    APPLIED_PARTLY = "applied_partly"
    QUARANTINED = "quarantined"
    SESSION_TIMEOUT = "session_timeout"
    SESSION_IDLE = "session_idle"
    SESSION_REPLACED = "session_replaced"
    STATUS_REPEATED = "status_repeated"
    TOPIC_FORM = "topic_form"
    TOO_MANY_VEHICLES = "too_many_vehicles"
    UNKNOWN_VEHICLE = "unknown_vehicle"
    LISTENER_SLOW = "listener_slow"


class GatewayError(Exception):
    """Root of all errors that this project raises on purpose."""


class ConfigError(GatewayError):
    """A setting is not what it must be. Its text is a sentence for the operator.

    Attributes:
        where: file and key, flag or variable that is wrong.
        got: what stands there, None when it is missing.
        expected: what would be right.
        hint: the nearest valid spelling or the remedy, "" for none.
        sentence: the text without the hint.
    """

    def __init__(self, where: str, *, got: object, expected: str, hint: str = "") -> None:
        self.where, self.got, self.expected, self.hint = where, got, expected, hint
        found = "is missing" if got is None else f"is {got!r}"
        self.sentence = f"{where} {found}; expected {expected}"
        super().__init__(self.sentence + (f" ({hint})" if hint else ""))


class ProtocolError(GatewayError):
    """Somebody broke the Fleet Protocol."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for something that the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that the protocol does not allow."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else str(reason))


class BusError(GatewayError):
    """The local bus is down or refused what was asked of it."""


class StoreError(GatewayError):
    """A commit failed, or nobody knows whether it happened."""


class ModuleError(GatewayError):
    """A module could not do what was asked of it (NOT_OK in the C API)."""

    def __init__(self, detail: str, reason: Reason = Reason.MODULE_FAILED) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(detail)
