from __future__ import annotations

import pytest
from pydantic import BaseModel

from module_gateway.control_plane.decode import (
    JSON_BYTES,
    Decoder,
    Payload,
    base64_command,
    json_command,
    parse_json,
    show,
)
from module_gateway.modules.car_accessory import CarAccessoryModule
from module_gateway.modules.containment import ContainedModule


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'{"pressed": false}', {"pressed": False}),
        (b"[1, 2.5, null]", [1, 2.5, None]),
        ('"ž"'.encode(), "ž"),
        (b"0", 0),
    ],
)
def test_json_is_shown_as_json(payload, value):
    assert show(payload) == Payload(encoding="json", data=value)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", ""),
        (b"\xff\x00", "/wA="),
        (b"NaN", "TmFO"),
        (b"1e999", "MWU5OTk="),
        (rb'"\ud800"', "Ilx1ZDgwMCI="),
        (b"{", "ew=="),
    ],
)
def test_anything_else_is_shown_as_base64(payload, text):
    assert show(payload) == Payload(encoding="base64", data=text)


@pytest.mark.parametrize("payload", [b"[" * 100_000, b"1" * 5_000, b"1" * (JSON_BYTES + 1)])
def test_hostile_json_is_refused(payload):
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(payload)


def test_a_departure_from_the_declared_shape_is_named():
    class Shape(BaseModel):
        speed: float

    assert show(b'{"speed": 1}', Shape).problem is None
    assert show(b'{"speed": "fast"}', Shape).problem.startswith("speed: ")
    assert show(b"3", Shape).problem is not None


def test_a_shape_that_raises_is_named_and_harms_nothing():
    class Shape(BaseModel):
        @classmethod
        def model_validate(cls, *args, **kwargs):
            raise ZeroDivisionError("oops")

    assert show(b"{}", Shape).problem == "the module's shape raised ZeroDivisionError"


def test_the_module_of_a_device_decides_the_shape():
    decoder = Decoder({1001: ContainedModule(CarAccessoryModule())})
    assert decoder.status(1001, b'{"pressed": true}').problem is None
    assert decoder.status(1001, b'{"pressed": "perhaps"}').problem is not None
    assert decoder.status(5, b'{"pressed": "perhaps"}').problem is None
    assert decoder.command(1001, b'{"lit_up": 17}').problem is not None
    assert decoder.error(b"17").data == 17


def test_a_posted_command_becomes_bytes():
    assert json_command({"lit_up": True, "text": "ž"}) == '{"lit_up": true, "text": "ž"}'.encode()
    assert base64_command("AAE=") == b"\x00\x01"


@pytest.mark.parametrize("text", ["AAE", "A A=", "*", "ž"])
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        base64_command(text)
