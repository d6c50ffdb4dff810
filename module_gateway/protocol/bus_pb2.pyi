from module_gateway.protocol import internal_protocol_pb2 as _internal_protocol_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN: _ClassVar[Kind]
    INTERNAL_SERVER: _ClassVar[Kind]
    MODULE_HANDLER: _ClassVar[Kind]
    EXTERNAL_CLIENT: _ClassVar[Kind]
    TOOL: _ClassVar[Kind]

class EndCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLOSED_BY_PEER: _ClassVar[EndCause]
    PROTOCOL_VIOLATION: _ClassVar[EndCause]
    REPLY_TIMEOUT: _ClassVar[EndCause]
    INACTIVE: _ClassVar[EndCause]
    TAKEN_OVER: _ClassVar[EndCause]
    REFUSED: _ClassVar[EndCause]
    STATUS_INVALID: _ClassVar[EndCause]
    SHUTDOWN: _ClassVar[EndCause]
    LOST: _ClassVar[EndCause]
    SEQUENCE_GAP: _ClassVar[EndCause]

class Lane(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FOLDED: _ClassVar[Lane]
    REPLAYED: _ClassVar[Lane]
    LIVE: _ClassVar[Lane]
UNKNOWN: Kind
INTERNAL_SERVER: Kind
MODULE_HANDLER: Kind
EXTERNAL_CLIENT: Kind
TOOL: Kind
CLOSED_BY_PEER: EndCause
PROTOCOL_VIOLATION: EndCause
REPLY_TIMEOUT: EndCause
INACTIVE: EndCause
TAKEN_OVER: EndCause
REFUSED: EndCause
STATUS_INVALID: EndCause
SHUTDOWN: EndCause
LOST: EndCause
SEQUENCE_GAP: EndCause
FOLDED: Lane
REPLAYED: Lane
LIVE: Lane

class Batch(_message.Message):
    __slots__ = ("version", "sender_kind", "sender_boot_id", "messages")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SENDER_KIND_FIELD_NUMBER: _ClassVar[int]
    SENDER_BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    version: int
    sender_kind: Kind
    sender_boot_id: int
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, version: _Optional[int] = ..., sender_kind: _Optional[_Union[Kind, str]] = ..., sender_boot_id: _Optional[int] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("presence", "connect_request", "status_request", "connection_ended", "probe_answer", "live_digest", "live_connections", "connect_verdict", "status_reply", "status_refused", "probe", "close_connection", "push_command", "live_connections_request", "lease", "delivery_receipt", "outbox_ack", "command_forward", "snapshot_request", "session_phase", "lease_granted", "lease_ended", "snapshot", "delivery", "command_verdict", "deliveries_voided", "buffer_request", "buffer_answer")
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    CONNECT_REQUEST_FIELD_NUMBER: _ClassVar[int]
    STATUS_REQUEST_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ENDED_FIELD_NUMBER: _ClassVar[int]
    PROBE_ANSWER_FIELD_NUMBER: _ClassVar[int]
    LIVE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LIVE_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    CONNECT_VERDICT_FIELD_NUMBER: _ClassVar[int]
    STATUS_REPLY_FIELD_NUMBER: _ClassVar[int]
    STATUS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    CLOSE_CONNECTION_FIELD_NUMBER: _ClassVar[int]
    PUSH_COMMAND_FIELD_NUMBER: _ClassVar[int]
    LIVE_CONNECTIONS_REQUEST_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_RECEIPT_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_ACK_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FORWARD_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SESSION_PHASE_FIELD_NUMBER: _ClassVar[int]
    LEASE_GRANTED_FIELD_NUMBER: _ClassVar[int]
    LEASE_ENDED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    COMMAND_VERDICT_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_VOIDED_FIELD_NUMBER: _ClassVar[int]
    BUFFER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    BUFFER_ANSWER_FIELD_NUMBER: _ClassVar[int]
    presence: Presence
    connect_request: ConnectRequest
    status_request: StatusRequest
    connection_ended: ConnectionEnded
    probe_answer: ProbeAnswer
    live_digest: LiveDigest
    live_connections: LiveConnections
    connect_verdict: ConnectVerdict
    status_reply: StatusReply
    status_refused: StatusRefused
    probe: Probe
    close_connection: CloseConnection
    push_command: PushCommand
    live_connections_request: LiveConnectionsRequest
    lease: Lease
    delivery_receipt: DeliveryReceipt
    outbox_ack: OutboxAck
    command_forward: CommandForward
    snapshot_request: SnapshotRequest
    session_phase: SessionPhase
    lease_granted: LeaseGranted
    lease_ended: LeaseEnded
    snapshot: Snapshot
    delivery: Delivery
    command_verdict: CommandVerdict
    deliveries_voided: DeliveriesVoided
    buffer_request: BufferRequest
    buffer_answer: BufferAnswer
    def __init__(self, presence: _Optional[_Union[Presence, _Mapping]] = ..., connect_request: _Optional[_Union[ConnectRequest, _Mapping]] = ..., status_request: _Optional[_Union[StatusRequest, _Mapping]] = ..., connection_ended: _Optional[_Union[ConnectionEnded, _Mapping]] = ..., probe_answer: _Optional[_Union[ProbeAnswer, _Mapping]] = ..., live_digest: _Optional[_Union[LiveDigest, _Mapping]] = ..., live_connections: _Optional[_Union[LiveConnections, _Mapping]] = ..., connect_verdict: _Optional[_Union[ConnectVerdict, _Mapping]] = ..., status_reply: _Optional[_Union[StatusReply, _Mapping]] = ..., status_refused: _Optional[_Union[StatusRefused, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ..., close_connection: _Optional[_Union[CloseConnection, _Mapping]] = ..., push_command: _Optional[_Union[PushCommand, _Mapping]] = ..., live_connections_request: _Optional[_Union[LiveConnectionsRequest, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., delivery_receipt: _Optional[_Union[DeliveryReceipt, _Mapping]] = ..., outbox_ack: _Optional[_Union[OutboxAck, _Mapping]] = ..., command_forward: _Optional[_Union[CommandForward, _Mapping]] = ..., snapshot_request: _Optional[_Union[SnapshotRequest, _Mapping]] = ..., session_phase: _Optional[_Union[SessionPhase, _Mapping]] = ..., lease_granted: _Optional[_Union[LeaseGranted, _Mapping]] = ..., lease_ended: _Optional[_Union[LeaseEnded, _Mapping]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., delivery: _Optional[_Union[Delivery, _Mapping]] = ..., command_verdict: _Optional[_Union[CommandVerdict, _Mapping]] = ..., deliveries_voided: _Optional[_Union[DeliveriesVoided, _Mapping]] = ..., buffer_request: _Optional[_Union[BufferRequest, _Mapping]] = ..., buffer_answer: _Optional[_Union[BufferAnswer, _Mapping]] = ...) -> None: ...

class Presence(_message.Message):
    __slots__ = ("served",)
    class Served(_message.Message):
        __slots__ = ("module", "partitions")
        MODULE_FIELD_NUMBER: _ClassVar[int]
        PARTITIONS_FIELD_NUMBER: _ClassVar[int]
        module: int
        partitions: int
        def __init__(self, module: _Optional[int] = ..., partitions: _Optional[int] = ...) -> None: ...
    SERVED_FIELD_NUMBER: _ClassVar[int]
    served: _containers.RepeatedCompositeFieldContainer[Presence.Served]
    def __init__(self, served: _Optional[_Iterable[_Union[Presence.Served, _Mapping]]] = ...) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("instance", "device")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    instance: int
    device: _internal_protocol_pb2.Device
    def __init__(self, instance: _Optional[int] = ..., device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("instance", "sequence", "status")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    instance: int
    sequence: int
    status: bytes
    def __init__(self, instance: _Optional[int] = ..., sequence: _Optional[int] = ..., status: _Optional[bytes] = ...) -> None: ...

class ConnectionEnded(_message.Message):
    __slots__ = ("instance", "cause")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    instance: int
    cause: EndCause
    def __init__(self, instance: _Optional[int] = ..., cause: _Optional[_Union[EndCause, str]] = ...) -> None: ...

class ProbeAnswer(_message.Message):
    __slots__ = ("instance", "is_alive")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    IS_ALIVE_FIELD_NUMBER: _ClassVar[int]
    instance: int
    is_alive: bool
    def __init__(self, instance: _Optional[int] = ..., is_alive: _Optional[bool] = ...) -> None: ...

class LiveDigest(_message.Message):
    __slots__ = ("count", "digest")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    count: int
    digest: int
    def __init__(self, count: _Optional[int] = ..., digest: _Optional[int] = ...) -> None: ...

class LiveConnections(_message.Message):
    __slots__ = ("connections", "is_first", "is_last")
    class Connection(_message.Message):
        __slots__ = ("instance", "device", "last_sequence", "is_decided")
        INSTANCE_FIELD_NUMBER: _ClassVar[int]
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        IS_DECIDED_FIELD_NUMBER: _ClassVar[int]
        instance: int
        device: _internal_protocol_pb2.Device
        last_sequence: int
        is_decided: bool
        def __init__(self, instance: _Optional[int] = ..., device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., last_sequence: _Optional[int] = ..., is_decided: _Optional[bool] = ...) -> None: ...
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    IS_FIRST_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    connections: _containers.RepeatedCompositeFieldContainer[LiveConnections.Connection]
    is_first: bool
    is_last: bool
    def __init__(self, connections: _Optional[_Iterable[_Union[LiveConnections.Connection, _Mapping]]] = ..., is_first: _Optional[bool] = ..., is_last: _Optional[bool] = ...) -> None: ...

class ConnectVerdict(_message.Message):
    __slots__ = ("instance", "response")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    instance: int
    response: _internal_protocol_pb2.DeviceConnectResponse.ResponseType
    def __init__(self, instance: _Optional[int] = ..., response: _Optional[_Union[_internal_protocol_pb2.DeviceConnectResponse.ResponseType, str]] = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("instance", "sequence", "command")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    instance: int
    sequence: int
    command: bytes
    def __init__(self, instance: _Optional[int] = ..., sequence: _Optional[int] = ..., command: _Optional[bytes] = ...) -> None: ...

class StatusRefused(_message.Message):
    __slots__ = ("instance", "sequence", "cause", "reason")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    instance: int
    sequence: int
    cause: EndCause
    reason: str
    def __init__(self, instance: _Optional[int] = ..., sequence: _Optional[int] = ..., cause: _Optional[_Union[EndCause, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: int
    def __init__(self, instance: _Optional[int] = ...) -> None: ...

class CloseConnection(_message.Message):
    __slots__ = ("instance", "cause")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    instance: int
    cause: EndCause
    def __init__(self, instance: _Optional[int] = ..., cause: _Optional[_Union[EndCause, str]] = ...) -> None: ...

class PushCommand(_message.Message):
    __slots__ = ("instance", "command")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    instance: int
    command: bytes
    def __init__(self, instance: _Optional[int] = ..., command: _Optional[bytes] = ...) -> None: ...

class LiveConnectionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Lease(_message.Message):
    __slots__ = ("endpoint", "epoch", "modules", "held_stores")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MODULES_FIELD_NUMBER: _ClassVar[int]
    HELD_STORES_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    modules: _containers.RepeatedScalarFieldContainer[int]
    held_stores: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., modules: _Optional[_Iterable[int]] = ..., held_stores: _Optional[_Iterable[int]] = ...) -> None: ...

class DeliveryReceipt(_message.Message):
    __slots__ = ("endpoint", "epoch", "delivery", "lane")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    delivery: int
    lane: Lane
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., delivery: _Optional[int] = ..., lane: _Optional[_Union[Lane, str]] = ...) -> None: ...

class OutboxAck(_message.Message):
    __slots__ = ("endpoint", "epoch", "acknowledged")
    class Stretch(_message.Message):
        __slots__ = ("device", "sequence", "first_sequence")
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        device: _internal_protocol_pb2.Device
        sequence: int
        first_sequence: int
        def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., sequence: _Optional[int] = ..., first_sequence: _Optional[int] = ...) -> None: ...
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    acknowledged: _containers.RepeatedCompositeFieldContainer[OutboxAck.Stretch]
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., acknowledged: _Optional[_Iterable[_Union[OutboxAck.Stretch, _Mapping]]] = ...) -> None: ...

class CommandForward(_message.Message):
    __slots__ = ("endpoint", "epoch", "session", "counter", "device", "command")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    session: int
    counter: int
    device: _internal_protocol_pb2.Device
    command: bytes
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., session: _Optional[int] = ..., counter: _Optional[int] = ..., device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., command: _Optional[bytes] = ...) -> None: ...

class SnapshotRequest(_message.Message):
    __slots__ = ("endpoint", "epoch", "request")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    request: int
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., request: _Optional[int] = ...) -> None: ...

class SessionPhase(_message.Message):
    __slots__ = ("endpoint", "epoch", "phase", "session", "splits_live")
    class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OFFLINE: _ClassVar[SessionPhase.Phase]
        EXPOSED: _ClassVar[SessionPhase.Phase]
    OFFLINE: SessionPhase.Phase
    EXPOSED: SessionPhase.Phase
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SPLITS_LIVE_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    phase: SessionPhase.Phase
    session: int
    splits_live: bool
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., phase: _Optional[_Union[SessionPhase.Phase, str]] = ..., session: _Optional[int] = ..., splits_live: _Optional[bool] = ...) -> None: ...

class LeaseGranted(_message.Message):
    __slots__ = ("endpoint", "epoch", "store_id")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    store_id: int
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., store_id: _Optional[int] = ...) -> None: ...

class LeaseEnded(_message.Message):
    __slots__ = ("endpoint", "epoch", "reason", "current_epoch")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CURRENT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    reason: str
    current_epoch: int
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., reason: _Optional[str] = ..., current_epoch: _Optional[int] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("endpoint", "epoch", "request", "registered", "is_first", "is_last")
    class Registered(_message.Message):
        __slots__ = ("device", "status", "is_behind")
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        IS_BEHIND_FIELD_NUMBER: _ClassVar[int]
        device: _internal_protocol_pb2.Device
        status: bytes
        is_behind: bool
        def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., status: _Optional[bytes] = ..., is_behind: _Optional[bool] = ...) -> None: ...
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    IS_FIRST_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    request: int
    registered: _containers.RepeatedCompositeFieldContainer[Snapshot.Registered]
    is_first: bool
    is_last: bool
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., request: _Optional[int] = ..., registered: _Optional[_Iterable[_Union[Snapshot.Registered, _Mapping]]] = ..., is_first: _Optional[bool] = ..., is_last: _Optional[bool] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("endpoint", "epoch", "delivery", "sequence", "device", "status", "ends_registration", "is_repeat", "error", "time_unix_ms", "first_sequence", "lane", "indivisible")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ENDS_REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    IS_REPEAT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    INDIVISIBLE_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    delivery: int
    sequence: int
    device: _internal_protocol_pb2.Device
    status: bytes
    ends_registration: bool
    is_repeat: bool
    error: bytes
    time_unix_ms: int
    first_sequence: int
    lane: Lane
    indivisible: int
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., delivery: _Optional[int] = ..., sequence: _Optional[int] = ..., device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., status: _Optional[bytes] = ..., ends_registration: _Optional[bool] = ..., is_repeat: _Optional[bool] = ..., error: _Optional[bytes] = ..., time_unix_ms: _Optional[int] = ..., first_sequence: _Optional[int] = ..., lane: _Optional[_Union[Lane, str]] = ..., indivisible: _Optional[int] = ...) -> None: ...

class DeliveriesVoided(_message.Message):
    __slots__ = ("endpoint", "epoch")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class CommandVerdict(_message.Message):
    __slots__ = ("endpoint", "epoch", "session", "counter", "response")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    session: int
    counter: int
    response: int
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., session: _Optional[int] = ..., counter: _Optional[int] = ..., response: _Optional[int] = ...) -> None: ...

class BufferRequest(_message.Message):
    __slots__ = ("store_id", "request", "purge", "returned", "what")
    class Stretch(_message.Message):
        __slots__ = ("device", "first_sequence", "last_sequence")
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        device: _internal_protocol_pb2.Device
        first_sequence: int
        last_sequence: int
        def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ...) -> None: ...
    class Return(_message.Message):
        __slots__ = ("device", "status", "ends_registration", "is_repeat", "error", "time_unix_ms", "unless_registered")
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        ENDS_REGISTRATION_FIELD_NUMBER: _ClassVar[int]
        IS_REPEAT_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        TIME_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
        UNLESS_REGISTERED_FIELD_NUMBER: _ClassVar[int]
        device: _internal_protocol_pb2.Device
        status: bytes
        ends_registration: bool
        is_repeat: bool
        error: bytes
        time_unix_ms: int
        unless_registered: bool
        def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., status: _Optional[bytes] = ..., ends_registration: _Optional[bool] = ..., is_repeat: _Optional[bool] = ..., error: _Optional[bytes] = ..., time_unix_ms: _Optional[int] = ..., unless_registered: _Optional[bool] = ...) -> None: ...
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    PURGE_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    store_id: int
    request: int
    purge: _containers.RepeatedCompositeFieldContainer[BufferRequest.Stretch]
    returned: _containers.RepeatedCompositeFieldContainer[BufferRequest.Return]
    what: str
    def __init__(self, store_id: _Optional[int] = ..., request: _Optional[int] = ..., purge: _Optional[_Iterable[_Union[BufferRequest.Stretch, _Mapping]]] = ..., returned: _Optional[_Iterable[_Union[BufferRequest.Return, _Mapping]]] = ..., what: _Optional[str] = ...) -> None: ...

class BufferAnswer(_message.Message):
    __slots__ = ("store_id", "request", "refusal")
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    store_id: int
    request: int
    refusal: str
    def __init__(self, store_id: _Optional[int] = ..., request: _Optional[int] = ..., refusal: _Optional[str] = ...) -> None: ...
