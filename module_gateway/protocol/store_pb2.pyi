from module_gateway.protocol import internal_protocol_pb2 as _internal_protocol_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StoreRecord(_message.Message):
    __slots__ = ("store_id", "ceiling", "version")
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    CEILING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    store_id: int
    ceiling: int
    version: int
    def __init__(self, store_id: _Optional[int] = ..., ceiling: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class NumberRecord(_message.Message):
    __slots__ = ("last_sequence",)
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    last_sequence: int
    def __init__(self, last_sequence: _Optional[int] = ...) -> None: ...

class LogRecord(_message.Message):
    __slots__ = ("device", "log", "trimmed_to")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    TRIMMED_TO_FIELD_NUMBER: _ClassVar[int]
    device: _internal_protocol_pb2.Device
    log: int
    trimmed_to: int
    def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., log: _Optional[int] = ..., trimmed_to: _Optional[int] = ...) -> None: ...

class StretchRecord(_message.Message):
    __slots__ = ("device", "first_sequence", "last_sequence")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    device: _internal_protocol_pb2.Device
    first_sequence: int
    last_sequence: int
    def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class EntryRecord(_message.Message):
    __slots__ = ("device", "sequence", "status", "ends_registration", "is_repeat", "error", "time_unix_ms", "first_sequence")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ENDS_REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    IS_REPEAT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    device: _internal_protocol_pb2.Device
    sequence: int
    status: bytes
    ends_registration: bool
    is_repeat: bool
    error: bytes
    time_unix_ms: int
    first_sequence: int
    def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., sequence: _Optional[int] = ..., status: _Optional[bytes] = ..., ends_registration: _Optional[bool] = ..., is_repeat: _Optional[bool] = ..., error: _Optional[bytes] = ..., time_unix_ms: _Optional[int] = ..., first_sequence: _Optional[int] = ...) -> None: ...

class Commands(_message.Message):
    __slots__ = ("last", "queue", "in_flight")
    LAST_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    last: bytes
    queue: _containers.RepeatedScalarFieldContainer[bytes]
    in_flight: bytes
    def __init__(self, last: _Optional[bytes] = ..., queue: _Optional[_Iterable[bytes]] = ..., in_flight: _Optional[bytes] = ...) -> None: ...

class Holder(_message.Message):
    __slots__ = ("device", "server", "instance", "last_sequence", "reply")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    device: _internal_protocol_pb2.Device
    server: int
    instance: int
    last_sequence: int
    reply: bytes
    def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., server: _Optional[int] = ..., instance: _Optional[int] = ..., last_sequence: _Optional[int] = ..., reply: _Optional[bytes] = ...) -> None: ...

class Registration(_message.Message):
    __slots__ = ("device", "status", "has_unpublished", "commands")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HAS_UNPUBLISHED_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    device: _internal_protocol_pb2.Device
    status: bytes
    has_unpublished: bool
    commands: Commands
    def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., status: _Optional[bytes] = ..., has_unpublished: _Optional[bool] = ..., commands: _Optional[_Union[Commands, _Mapping]] = ...) -> None: ...

class DeviceRecord(_message.Message):
    __slots__ = ("device", "holder", "registration", "parked")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    PARKED_FIELD_NUMBER: _ClassVar[int]
    device: _internal_protocol_pb2.Device
    holder: Holder
    registration: Registration
    parked: Commands
    def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ..., registration: _Optional[_Union[Registration, _Mapping]] = ..., parked: _Optional[_Union[Commands, _Mapping]] = ...) -> None: ...

class LeaseRecord(_message.Message):
    __slots__ = ("endpoint", "epoch", "modules", "is_exposed")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MODULES_FIELD_NUMBER: _ClassVar[int]
    IS_EXPOSED_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    modules: _containers.RepeatedScalarFieldContainer[int]
    is_exposed: bool
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., modules: _Optional[_Iterable[int]] = ..., is_exposed: _Optional[bool] = ...) -> None: ...

class VerdictRecord(_message.Message):
    __slots__ = ("endpoint", "epoch", "session", "counter", "device", "response", "position")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    endpoint: int
    epoch: int
    session: int
    counter: int
    device: _internal_protocol_pb2.Device
    response: int
    position: int
    def __init__(self, endpoint: _Optional[int] = ..., epoch: _Optional[int] = ..., session: _Optional[int] = ..., counter: _Optional[int] = ..., device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., response: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...
