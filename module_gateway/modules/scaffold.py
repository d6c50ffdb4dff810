"""`module-gateway module new NAME`: a module that works as written, and its test."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template
from typing import Final

from module_gateway.modules.catalog import BUILT_IN
from module_gateway.protocol.errors import ConfigError

FIRST_FREE_NUMBER: Final = 2000
"""Up to 1001 numbers are taken or reserved (fleet-protocol 0.3 D6)."""


def create(name: str, folder: Path) -> list[Path]:
    """Write `<name>_module.py` and `test_<name>_module.py` into `folder`, made if missing.

    Returns the two paths. The module is then `"<name>_module:<Name>Module"` in `module-paths`,
    provided that `folder` is on PYTHONPATH.

    Raises:
        ConfigError: the name is no lower-case identifier, is a built-in's, or a file exists.
        OSError: the folder cannot be written.
    """
    if re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) is None or keyword.iskeyword(name):
        raise ConfigError(
            "NAME", got=name, expected="a lower-case word such as 'door_lock'", hint=_nearby(name)
        )
    if name in BUILT_IN:
        raise ConfigError("NAME", got=name, expected="a name that no built-in module has")
    words = {"name": name, "class_name": _class_name(name), "number": str(FIRST_FREE_NUMBER)}
    texts = {
        folder / f"{name}_module.py": MODULE_TEMPLATE.substitute(words),
        folder / f"test_{name}_module.py": TEST_TEMPLATE.substitute(words),
    }
    for path in texts:
        if path.exists():
            raise ConfigError(
                "NAME",
                got=name,
                expected="a name whose files do not exist yet",
                hint=f"{path} is there: remove it, or give another --folder",
            )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def next_steps(name: str, folder: Path) -> str:
    """What to do with what `create` wrote, for a person."""
    number, entry = FIRST_FREE_NUMBER, f"{name}_module:{_class_name(name)}"
    return (
        f"\nNext: `make setup-dev` once, then `.venv/bin/python -m pytest {folder}`. To use it,\n"
        f'in the configuration: "module-paths": {{"{number}": "{entry}"}},\n'
        f"{number} among the modules of an endpoint, and PYTHONPATH={folder.absolute()}\n"
    )


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_")) + "Module"


def _nearby(name: str) -> str:
    """A remedy for a name that is nearly one."""
    word = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    word = word.strip("_")[:64]
    is_name = re.match(r"[a-z]", word) is not None and not keyword.iskeyword(word)
    return f"{word!r} would do" if is_name and word not in BUILT_IN else ""


MODULE_TEMPLATE: Final = Template('''\
"""The $name module. As written its devices measure a value and get a target back.

To use it, put this folder on PYTHONPATH and name the class in the configuration:

    "module-paths": {"$number": "${name}_module:$class_name"}
"""

from __future__ import annotations

from module_gateway.modules.api import Module, Payload
from module_gateway.modules.json_payload import is_number, read_object, write
from module_gateway.protocol.errors import ModuleError


class Status(Payload):
    """What a device sends. Serves forms and documentation; validity is decided below."""

    value: float


class Command(Payload):
    """What a device is told."""

    target: float


class $class_name(Module):
    """Answer from the arguments alone: no files, no network, no clock, nothing remembered.

    Where there is no answer, raise ModuleError: it costs this device its reply, nothing else.
    """

    name = "$name"
    default_number = $number
    device_types = frozenset({0})  # None: every device type
    StatusPayload = Status
    CommandPayload = Command

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        """Whether a status may be used. A device that sends an invalid one is disconnected."""
        return _number(status, "value") is not None

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        """Whether the control plane may send this to a device."""
        return _number(command, "target") is not None

    def generate_first_command(self, device_type: int) -> bytes:
        """What a device is told until the control plane says something."""
        return write({"target": 0})

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        """Whether to publish now. What is not published is still aggregated."""
        return _number(current, "value") != _number(new, "value")

    def aggregate_status(self, current: bytes, new: bytes, device_type: int) -> bytes:
        """The device's status after `new`. Merge here what must not be lost in between."""
        return new

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes:
        """The answer to `new`; `command` is the next one, or the last answer again."""
        return command

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        """Fold a status that could not be delivered into what is reported after the outage."""
        value = _number(status, "value")
        if value is None:
            raise ModuleError("the status has no number 'value'")
        highest = _number(error, "highest") if error else value
        return write({"highest": value if highest is None else max(highest, value)})


def _number(payload: bytes, key: str) -> float | None:
    """The number under `key`; None if there is none, whatever the bytes are."""
    try:
        value = read_object(payload).get(key)
    except ModuleError:
        return None
    return value if is_number(value) else None
''')

TEST_TEMPLATE: Final = Template('''\
"""Run with `pytest` in this folder."""

from __future__ import annotations

import pytest
from ${name}_module import $class_name

from module_gateway.modules.catalog import load_modules
from module_gateway.protocol.errors import ModuleError

MODULE = $class_name()


def test_status_needs_a_number() -> None:
    assert MODULE.status_data_valid(b'{"value": 21.5}', 0)
    assert not MODULE.status_data_valid(b'{"value": "warm"}', 0)


@pytest.mark.parametrize("payload", [b"", b"\\xff", b"[" * 100_000, b"null"])
def test_broken_bytes_are_invalid(payload: bytes) -> None:
    assert not MODULE.status_data_valid(payload, 0)
    assert not MODULE.command_data_valid(payload, 0)


def test_first_command_is_a_valid_command() -> None:
    assert MODULE.command_data_valid(MODULE.generate_first_command(0), 0)


def test_only_a_changed_value_is_published() -> None:
    assert MODULE.send_status_condition(b'{"value": 1}', b'{"value": 2}', 0, 1.0)
    assert not MODULE.send_status_condition(b'{"value": 2}', b'{"value": 2}', 0, 1.0)


def test_command_is_passed_on() -> None:
    assert MODULE.generate_command(b'{"value": 1}', b"", b'{"target": 3}', 0) == b'{"target": 3}'


def test_outage_reports_the_highest_value() -> None:
    error = b""
    for value in (3, 9, 4):
        error = MODULE.aggregate_error(error, b'{"value": %d}' % value, 0)
    assert error == b'{"highest":9}'


def test_status_without_a_number_is_left_out_of_the_report() -> None:
    with pytest.raises(ModuleError):
        MODULE.aggregate_error(b"", b"{}", 0)


def test_configuration_finds_it() -> None:
    modules = load_modules({"$number": "${name}_module:$class_name"}, {})
    assert modules[$number].name == "$name"
''')
