from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Position(_message.Message):
    __slots__ = ("latitude", "longitude", "altitude")
    LATITUDE_FIELD_NUMBER: _ClassVar[int]
    LONGITUDE_FIELD_NUMBER: _ClassVar[int]
    ALTITUDE_FIELD_NUMBER: _ClassVar[int]
    latitude: float
    longitude: float
    altitude: float
    def __init__(self, latitude: _Optional[float] = ..., longitude: _Optional[float] = ..., altitude: _Optional[float] = ...) -> None: ...

class Station(_message.Message):
    __slots__ = ("name", "position")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    name: str
    position: Position
    def __init__(self, name: _Optional[str] = ..., position: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class AutonomyStatus(_message.Message):
    __slots__ = ("telemetry", "state", "nextStop")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        IDLE: _ClassVar[AutonomyStatus.State]
        DRIVE: _ClassVar[AutonomyStatus.State]
        IN_STOP: _ClassVar[AutonomyStatus.State]
        OBSTACLE: _ClassVar[AutonomyStatus.State]
        ERROR: _ClassVar[AutonomyStatus.State]
    IDLE: AutonomyStatus.State
    DRIVE: AutonomyStatus.State
    IN_STOP: AutonomyStatus.State
    OBSTACLE: AutonomyStatus.State
    ERROR: AutonomyStatus.State
    class Telemetry(_message.Message):
        __slots__ = ("speed", "fuel", "position")
        SPEED_FIELD_NUMBER: _ClassVar[int]
        FUEL_FIELD_NUMBER: _ClassVar[int]
        POSITION_FIELD_NUMBER: _ClassVar[int]
        speed: float
        fuel: float
        position: Position
        def __init__(self, speed: _Optional[float] = ..., fuel: _Optional[float] = ..., position: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NEXTSTOP_FIELD_NUMBER: _ClassVar[int]
    telemetry: AutonomyStatus.Telemetry
    state: AutonomyStatus.State
    nextStop: Station
    def __init__(self, telemetry: _Optional[_Union[AutonomyStatus.Telemetry, _Mapping]] = ..., state: _Optional[_Union[AutonomyStatus.State, str]] = ..., nextStop: _Optional[_Union[Station, _Mapping]] = ...) -> None: ...

class AutonomyCommand(_message.Message):
    __slots__ = ("stops", "route", "action")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NO_ACTION: _ClassVar[AutonomyCommand.Action]
        STOP: _ClassVar[AutonomyCommand.Action]
        START: _ClassVar[AutonomyCommand.Action]
    NO_ACTION: AutonomyCommand.Action
    STOP: AutonomyCommand.Action
    START: AutonomyCommand.Action
    STOPS_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    stops: _containers.RepeatedCompositeFieldContainer[Station]
    route: str
    action: AutonomyCommand.Action
    def __init__(self, stops: _Optional[_Iterable[_Union[Station, _Mapping]]] = ..., route: _Optional[str] = ..., action: _Optional[_Union[AutonomyCommand.Action, str]] = ...) -> None: ...

class AutonomyError(_message.Message):
    __slots__ = ("finishedStops",)
    FINISHEDSTOPS_FIELD_NUMBER: _ClassVar[int]
    finishedStops: _containers.RepeatedCompositeFieldContainer[Station]
    def __init__(self, finishedStops: _Optional[_Iterable[_Union[Station, _Mapping]]] = ...) -> None: ...
