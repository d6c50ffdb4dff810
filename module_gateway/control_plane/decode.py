"""Payload bytes as people and programs read them: JSON when they are JSON, else base64."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final, Literal, NoReturn

from pydantic import BaseModel, ValidationError

from module_gateway.modules.containment import ContainedModule

JSON_BYTES: Final = 1024 * 1024
"""Larger payloads are shown as base64: parsing them would hold up the loop."""


class Payload(BaseModel):
    """One status, error or command."""

    encoding: Literal["json", "base64"]
    data: Any
    """The JSON value, or base64 text; empty bytes are base64 ""."""
    problem: str | None = None
    """How the value departs from the shape that its module declares; None when it does not, or
    when nobody declares one."""


class Decoder:
    """Shows payloads with the help of the configured modules."""

    def __init__(self, modules: Mapping[int, ContainedModule]) -> None:
        self._modules = modules

    def status(self, module: int, payload: bytes) -> Payload:
        """A status of a device of this module."""
        configured = self._modules.get(module)
        return show(payload, configured.status_payload if configured is not None else None)

    def error(self, payload: bytes) -> Payload:
        """An error aggregate; modules declare no shape for it."""
        return show(payload)

    def command(self, module: int, payload: bytes) -> Payload:
        """A command for a device of this module."""
        configured = self._modules.get(module)
        return show(payload, configured.command_payload if configured is not None else None)


def show(payload: bytes, shape: type[BaseModel] | None = None) -> Payload:
    """`payload` as JSON if it is exactly representable JSON, else as base64."""
    try:
        value = parse_json(payload)
    except ValueError:
        return Payload(encoding="base64", data=base64.b64encode(payload).decode("ascii"))
    return Payload(encoding="json", data=value, problem=_problem(value, shape))


def parse_json(payload: bytes) -> object:
    """A value that can be written as JSON again.

    Raises:
        ValueError: it is none, or one that JSON cannot carry (NaN, infinity, half a surrogate
            pair), or too deep or too large.
    """
    if len(payload) > JSON_BYTES:
        raise ValueError(f"{len(payload)} bytes are over {JSON_BYTES}")
    try:
        value: object = json.loads(payload, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def json_command(value: object) -> bytes:
    """The bytes of a command that was posted as JSON: spaced as devices' examples are."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def base64_command(text: str) -> bytes:
    """The bytes of a command that was posted as base64.

    Raises:
        ValueError: it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _problem(value: object, shape: type[BaseModel] | None) -> str | None:
    if shape is None:
        return None
    try:
        shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else first["msg"]
    except Exception as error:  # noqa: BLE001 - an edge: a module author's validators run here
        return f"the module's shape raised {type(error).__name__}"
    return None
