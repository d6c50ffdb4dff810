"""Reads a configuration file into `Settings`, or says everything that is wrong with it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.config_errors import ConfigFileError, Location, key_text, problem
from module_gateway.runtime.config_forms import FOREIGN_KEY, VERSION_KEY, Draft, adapt
from module_gateway.runtime.config_rules import broken_rules
from module_gateway.runtime.settings import Endpoint, ExternalConnection, Settings

DEFAULT_UPSTREAM: Final = ("127.0.0.1", 18883)
"""Where `run_all.py --demo` has its upstream broker (decisions: Running)."""
MAX_FILE_BYTES: Final = 4 * 1024 * 1024  # a configuration is written by a person

SHOWN_CHARS: Final = 60  # of a malformed line

MAX_PASSES: Final = 3  # unknown keys, then what is wrong, then the rest

_SECRET_KEY: Final = re.compile(r"password|passphrase|secret|token|credential", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(r"PRIVATE KEY-----")
HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one file amounts to. `settings` is None when there is any problem."""

    source: str
    settings: Settings | None
    problems: tuple[ConfigError, ...] = ()
    notices: tuple[str, ...] = ()


def default_settings() -> Settings:
    """What is used without a file: every default module reports to a control plane next door."""
    host, port = DEFAULT_UPSTREAM
    modules = tuple(int(number) for number in Settings().module_paths)
    endpoint = Endpoint(server_ip=host, port=port, modules=modules)
    return Settings(config_version=1, external_connection=ExternalConnection(endpoints=(endpoint,)))


def load(path: Path, *, needs_endpoints: bool = True) -> Settings:
    """The settings of a JSON or TOML file (by its ending; JSON for any other).

    A gateway `needs_endpoints`; a control plane that runs alone is one.

    Raises:
        ConfigFileError: with every problem that the file has.
    """
    found = inspect(path, needs_endpoints=needs_endpoints)
    if found.settings is None:
        raise ConfigFileError(found.source, found.problems)
    return found.settings


def inspect(path: Path, *, needs_endpoints: bool = True) -> Inspection:
    """Read and judge a file without raising anything about it."""
    try:
        fields = _parse(path, _read(path))
    except ConfigError as error:
        return Inspection(str(path), None, (error,))
    draft = Draft(fields, path.absolute().parent)
    adapt(draft)
    foreign = [item for item in draft.problems if item.where == FOREIGN_KEY]
    if foreign:  # nothing else in it means what it seems to
        return Inspection(str(path), None, tuple(foreign))
    settings, problems, skipped = _validate(draft)
    problems = [*draft.problems, *problems]
    if settings is not None:
        broken = broken_rules(settings, is_ours=draft.is_ours, needs_endpoints=needs_endpoints)
        problems += [item for item in broken if not item.where.startswith(skipped)]
        is_lost = needs_endpoints and not settings.external_connection.endpoints
        if is_lost and not draft.is_ours:
            draft.notices.append(
                "external-connection.endpoints is empty: every device will be answered "
                "MODULE_NOT_SUPPORTED"
            )
    notices = tuple(f"{path}: {notice}" for notice in draft.notices)
    if settings is None or problems:
        return Inspection(str(path), None, tuple(_unique(problems)), notices)
    settings = settings.with_notices(notices).from_file(str(path))
    return Inspection(str(path), settings, (), notices)


def _unique(problems: list[ConfigError]) -> list[ConfigError]:
    return list({str(item): item for item in problems}.values())


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        hint = f"{error.strerror}; looked for {path.absolute()}"
        raise ConfigError("the file", got=None, expected="JSON or TOML", hint=hint) from error
    except OSError as error:
        raise ConfigError(
            "the file", got="unreadable", expected="JSON or TOML", hint=str(error.strerror)
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError("the file", got=str(path), expected=f"at most {MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"byte {error.start} of the file", got=content[error.start], expected="UTF-8 text"
        ) from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    is_toml = path.suffix.lower() == ".toml"
    try:
        found = tomllib.loads(text) if is_toml else json.loads(text, object_pairs_hook=_once)
    except ConfigError:
        raise
    except json.JSONDecodeError as error:
        raise _malformed(text, error) from error
    except (ValueError, RecursionError) as error:
        detail = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        expected = "well-formed " + ("TOML" if is_toml else "JSON")
        raise ConfigError("the file", got="malformed", expected=expected, hint=detail) from error
    if not isinstance(found, dict):
        raise ConfigError("the file", got=found, expected="a JSON object { … }")
    return found


def _malformed(text: str, error: json.JSONDecodeError) -> ConfigError:
    """Where it went wrong, what stands there, and what people who are used to more forget."""
    if not text.strip():
        return ConfigError("the file", got="empty", expected="well-formed JSON: { … }")
    line = text.split("\n")[error.lineno - 1]
    return ConfigError(
        f"line {error.lineno} column {error.colno}",
        got=line.strip()[:SHOWN_CHARS],
        expected=f"well-formed JSON: {error.msg[0].lower()}{error.msg[1:]}",
        hint="no comments, no comma before } or ], double quotes; TOML allows comments",
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            hint = f"the first is {found[key]!r}"
            raise ConfigError(f"the second {key!r}", got=value, expected="each key once", hint=hint)
        found[key] = value
    return found


def _validate(draft: Draft) -> tuple[Settings | None, list[ConfigError], tuple[str, ...]]:
    """The settings, what is wrong, and the keys that were left out because of that.

    Types are strict. Unknown keys of the existing gateway's form are noted and ignored. What is
    wrong is left out, so that the rules can judge the rest in the same run.
    """
    problems: list[ConfigError] = []
    left_out: list[str] = []
    for _ in range(MAX_PASSES):
        try:
            text = json.dumps(draft.fields, default=str)
            return Settings.model_validate_json(text, strict=True), problems, tuple(left_out)
        except ValidationError as error:
            details = error.errors(include_url=False)
        for item in details:
            if item["type"] == "extra_forbidden" and not draft.is_ours:
                draft.notices.append(f"{problem(Settings, item)}; it is ignored")
                _remove(draft.fields, item["loc"])
                continue
            problems.append(problem(Settings, item))
            whole = _outside_lists(item["loc"])
            left_out.append(key_text(whole))
            _remove(draft.fields, whole)
    return None, problems, tuple(left_out)


def _outside_lists(location: Location) -> Location:
    """A list with a wrong item is left out as a whole: its indices are part of other problems."""
    first = next((at for at, part in enumerate(location) if isinstance(part, int)), len(location))
    return location[:first]


def _remove(fields: dict[str, Any], location: Location) -> None:
    section: Any = fields
    for part in location[:-1]:
        section = section.get(part, {}) if isinstance(section, dict) else section[part]
    section.pop(location[-1], None)


def effective_configuration(settings: Settings) -> dict[str, Any]:
    """Every setting with its value in force, secrets hidden: for the log and `check --json`."""
    shown = _without_secrets("", settings.model_dump(mode="json", by_alias=True))
    assert isinstance(shown, dict)  # noqa: S101 - a model dumps to an object
    return shown


def _without_secrets(key: str, value: Any) -> Any:  # noqa: ANN401 - any JSON value
    match value:
        case dict():
            return {name: _without_secrets(name, inner) for name, inner in value.items()}
        case list():
            return [_without_secrets(key, inner) for inner in value]
        case str() if value and (_SECRET_KEY.search(key) or _SECRET_VALUE.search(value)):
            return HIDDEN
        case _:
            return value


def changed_settings(settings: Settings) -> dict[str, Any]:
    """Of `effective_configuration`, what is not as without a file, as `section.key: value`."""
    found = dict(_differences("", effective_configuration(settings), _DEFAULTS))
    return {key: value for key, value in found.items() if key != VERSION_KEY}


def _differences(
    prefix: str, found: dict[str, Any], default: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    for key, value in found.items():
        usual = default.get(key)
        if isinstance(value, dict) and isinstance(usual, dict) and usual:
            yield from _differences(f"{prefix}{key}.", value, usual)
        elif value != usual:
            yield f"{prefix}{key}", value


_DEFAULTS: Final = default_settings().model_dump(mode="json", by_alias=True)
