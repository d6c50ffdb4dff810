from module_gateway.protocol import internal_protocol_pb2 as _internal_protocol_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExternalServer(_message.Message):
    __slots__ = ("connectResponse", "statusResponse", "command")
    CONNECTRESPONSE_FIELD_NUMBER: _ClassVar[int]
    STATUSRESPONSE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    connectResponse: ConnectResponse
    statusResponse: StatusResponse
    command: Command
    def __init__(self, connectResponse: _Optional[_Union[ConnectResponse, _Mapping]] = ..., statusResponse: _Optional[_Union[StatusResponse, _Mapping]] = ..., command: _Optional[_Union[Command, _Mapping]] = ...) -> None: ...

class ExternalClient(_message.Message):
    __slots__ = ("connect", "status", "commandResponse")
    CONNECT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COMMANDRESPONSE_FIELD_NUMBER: _ClassVar[int]
    connect: Connect
    status: Status
    commandResponse: CommandResponse
    def __init__(self, connect: _Optional[_Union[Connect, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., commandResponse: _Optional[_Union[CommandResponse, _Mapping]] = ...) -> None: ...

class Connect(_message.Message):
    __slots__ = ("sessionId", "company", "vehicleName", "devices", "capabilities")
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    COMPANY_FIELD_NUMBER: _ClassVar[int]
    VEHICLENAME_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    sessionId: str
    company: str
    vehicleName: str
    devices: _containers.RepeatedCompositeFieldContainer[_internal_protocol_pb2.Device]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sessionId: _Optional[str] = ..., company: _Optional[str] = ..., vehicleName: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[_internal_protocol_pb2.Device, _Mapping]]] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("sessionId", "type", "applied", "capabilities")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OK: _ClassVar[ConnectResponse.Type]
        ALREADY_LOGGED: _ClassVar[ConnectResponse.Type]
    OK: ConnectResponse.Type
    ALREADY_LOGGED: ConnectResponse.Type
    class Applied(_message.Message):
        __slots__ = ("device", "store_id", "sequence", "first_sequence")
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        STORE_ID_FIELD_NUMBER: _ClassVar[int]
        SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        device: _internal_protocol_pb2.Device
        store_id: int
        sequence: int
        first_sequence: int
        def __init__(self, device: _Optional[_Union[_internal_protocol_pb2.Device, _Mapping]] = ..., store_id: _Optional[int] = ..., sequence: _Optional[int] = ..., first_sequence: _Optional[int] = ...) -> None: ...
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    sessionId: str
    type: ConnectResponse.Type
    applied: _containers.RepeatedCompositeFieldContainer[ConnectResponse.Applied]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sessionId: _Optional[str] = ..., type: _Optional[_Union[ConnectResponse.Type, str]] = ..., applied: _Optional[_Iterable[_Union[ConnectResponse.Applied, _Mapping]]] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("sessionId", "deviceState", "messageCounter", "deviceStatus", "errorMessage", "sequence", "store_id", "time_unix_ms", "replayed", "live")
    class DeviceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CONNECTING: _ClassVar[Status.DeviceState]
        RUNNING: _ClassVar[Status.DeviceState]
        ERROR: _ClassVar[Status.DeviceState]
        DISCONNECT: _ClassVar[Status.DeviceState]
    CONNECTING: Status.DeviceState
    RUNNING: Status.DeviceState
    ERROR: Status.DeviceState
    DISCONNECT: Status.DeviceState
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    DEVICESTATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGECOUNTER_FIELD_NUMBER: _ClassVar[int]
    DEVICESTATUS_FIELD_NUMBER: _ClassVar[int]
    ERRORMESSAGE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    sessionId: str
    deviceState: Status.DeviceState
    messageCounter: int
    deviceStatus: _internal_protocol_pb2.DeviceStatus
    errorMessage: bytes
    sequence: int
    store_id: int
    time_unix_ms: int
    replayed: bool
    live: bool
    def __init__(self, sessionId: _Optional[str] = ..., deviceState: _Optional[_Union[Status.DeviceState, str]] = ..., messageCounter: _Optional[int] = ..., deviceStatus: _Optional[_Union[_internal_protocol_pb2.DeviceStatus, _Mapping]] = ..., errorMessage: _Optional[bytes] = ..., sequence: _Optional[int] = ..., store_id: _Optional[int] = ..., time_unix_ms: _Optional[int] = ..., replayed: _Optional[bool] = ..., live: _Optional[bool] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("sessionId", "type", "messageCounter")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OK: _ClassVar[StatusResponse.Type]
    OK: StatusResponse.Type
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGECOUNTER_FIELD_NUMBER: _ClassVar[int]
    sessionId: str
    type: StatusResponse.Type
    messageCounter: int
    def __init__(self, sessionId: _Optional[str] = ..., type: _Optional[_Union[StatusResponse.Type, str]] = ..., messageCounter: _Optional[int] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("sessionId", "messageCounter", "deviceCommand")
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    MESSAGECOUNTER_FIELD_NUMBER: _ClassVar[int]
    DEVICECOMMAND_FIELD_NUMBER: _ClassVar[int]
    sessionId: str
    messageCounter: int
    deviceCommand: _internal_protocol_pb2.DeviceCommand
    def __init__(self, sessionId: _Optional[str] = ..., messageCounter: _Optional[int] = ..., deviceCommand: _Optional[_Union[_internal_protocol_pb2.DeviceCommand, _Mapping]] = ...) -> None: ...

class CommandResponse(_message.Message):
    __slots__ = ("sessionId", "type", "messageCounter")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OK: _ClassVar[CommandResponse.Type]
        DEVICE_NOT_CONNECTED: _ClassVar[CommandResponse.Type]
        DEVICE_NOT_SUPPORTED: _ClassVar[CommandResponse.Type]
        INVALID_COMMAND: _ClassVar[CommandResponse.Type]
    OK: CommandResponse.Type
    DEVICE_NOT_CONNECTED: CommandResponse.Type
    DEVICE_NOT_SUPPORTED: CommandResponse.Type
    INVALID_COMMAND: CommandResponse.Type
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGECOUNTER_FIELD_NUMBER: _ClassVar[int]
    sessionId: str
    type: CommandResponse.Type
    messageCounter: int
    def __init__(self, sessionId: _Optional[str] = ..., type: _Optional[_Union[CommandResponse.Type, str]] = ..., messageCounter: _Optional[int] = ...) -> None: ...
