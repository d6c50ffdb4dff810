"""From what stands in a file to what `Settings` expects.

Two forms of file are read. Ours says `"config-version": 1` and is taken at its word. Anything
else is taken for a file of the existing gateway (fleet-protocol 5.1), which must go on working
unchanged: what it says loosely is put straight here and the operator is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.config_errors import nearest
from module_gateway.runtime.log import LEVELS

VERSION_KEY: Final = "config-version"
FOREIGN_KEY: Final = "carId"
"""Only files of the Python proof of concept have it."""
OTHER_PROTOCOLS: Final = ("quic", "dummy")  # of the existing gateway
PATH_KEYS: Final = ("ca-file", "client-cert", "client-key")


@dataclass(slots=True)
class Draft:
    """The fields of one file on their way to being settings."""

    fields: dict[str, Any]
    folder: Path
    """Where relative paths of the file start."""
    problems: list[ConfigError] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def is_ours(self) -> bool:
        """The file says that it is in our own form."""
        return VERSION_KEY in self.fields

    def section(self, *keys: str) -> dict[str, Any]:
        """The section under `keys`; an empty one, attached to nothing, when it is no section."""
        found: Any = self.fields
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def endpoints(self) -> list[dict[str, Any]]:
        """Those endpoints that are sections."""
        found = self.section("external-connection").get("endpoints")
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def adapt(draft: Draft) -> None:
    """Apply every rule of this file to `draft`, in place."""
    _refuse_proof_of_concept(draft)
    _levels(draft)
    _module_paths(draft)
    _protocols(draft)
    _relative_paths(draft)
    if not draft.is_ours:
        _listen_everywhere(draft)
        _module_binary(draft)
        _repeated_modules(draft)


def _refuse_proof_of_concept(draft: Draft) -> None:
    if FOREIGN_KEY in draft.fields:
        draft.problems.append(
            ConfigError(
                FOREIGN_KEY,
                got=draft.fields[FOREIGN_KEY],
                expected="the form of the existing gateway or ours",
                hint="this file is of the Python proof of concept; see docs/migrate.md",
            )
        )


def _levels(draft: Draft) -> None:
    for sink in ("console", "file"):
        section = draft.section("logging", sink)
        level = section.get("level")
        if not isinstance(level, str):
            continue
        if level.upper() not in LEVELS:
            hint = nearest(level, LEVELS)
            draft.notices.append(
                f"logging.{sink}.level is {level!r}, which is no level; DEBUG is used"
                + (f" ({hint})" if hint else "")
            )
        section["level"] = level.upper() if level.upper() in LEVELS else "DEBUG"


def _module_paths(draft: Draft) -> None:
    paths = draft.fields.get("module-paths")
    if not isinstance(paths, dict):
        return
    if not paths:
        draft.problems.append(
            ConfigError("module-paths", got={}, expected="at least one module number")
        )
    known: dict[str, Any] = {}
    for key, value in paths.items():
        number = key if draft.is_ours else _leading_number(draft, key)
        if number in known:
            draft.problems.append(
                ConfigError(f"module-paths.{key}", got=value, expected=f"module {number} only once")
            )
        if isinstance(value, str) and value.endswith(".so"):
            draft.notices.append(
                f"module-paths.{key} names a native library; the built-in module of that name "
                "is used"
            )
        known[number] = value
    draft.fields["module-paths"] = known


def _leading_number(draft: Draft, key: str) -> str:
    """The existing gateway reads as many digits as a key starts with."""
    digits = re.match(r"0*([0-9]{1,10})", key, re.ASCII)
    if digits is None or digits[1] == key:
        return key
    draft.notices.append(f"module-paths.{key} is read as module {digits[1]}")
    return digits[1]


def _protocols(draft: Draft) -> None:
    for index, endpoint in enumerate(draft.endpoints()):
        protocol = endpoint.get("protocol-type")
        if not isinstance(protocol, str):
            continue
        where = f"external-connection.endpoints[{index}].protocol-type"
        lower = protocol.lower()
        endpoint["protocol-type"] = "mqtt"
        if lower in OTHER_PROTOCOLS:
            hint = f"{protocol} of the existing gateway is not supported"
        elif lower != "mqtt":
            hint = nearest(lower, ("mqtt",))
        else:
            continue
        draft.problems.append(ConfigError(where, got=protocol, expected="'mqtt'", hint=hint))


def _relative_paths(draft: Draft) -> None:
    """Case 43: relative paths start at the configuration file, not at the working directory."""
    for endpoint in draft.endpoints():
        tls = endpoint.get("mqtt-settings")
        if isinstance(tls, dict):
            _anchor(draft, tls, PATH_KEYS)
    _anchor(draft, draft.section("bus"), ("socket",))
    _anchor(draft, draft.fields, ("state-dir",))


def _anchor(draft: Draft, section: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if isinstance(section.get(key), str) and section[key]:
            section[key] = str(draft.folder / Path(section[key]).expanduser())


def _listen_everywhere(draft: Draft) -> None:
    listener = draft.fields.setdefault("internal-server-settings", {})
    if isinstance(listener, dict) and listener.get("ip-address") is None:
        listener["ip-address"] = "0.0.0.0"  # noqa: S104 - what such a file means (decisions)
        draft.notices.append(
            "internal-server-settings.ip-address is missing: as with the existing gateway, "
            "devices can connect in plaintext on all interfaces (0.0.0.0)"
        )


def _module_binary(draft: Draft) -> None:
    if draft.fields.pop("module-binary-path", ""):
        draft.notices.append(
            "module-binary-path is ignored: modules run in the gateway's own processes"
        )


def _repeated_modules(draft: Draft) -> None:
    """The existing gateway ignores a module number that an earlier endpoint has."""
    taken: set[int] = set()
    for index, endpoint in enumerate(draft.endpoints()):
        modules = endpoint.get("modules")
        if not isinstance(modules, list):
            continue
        kept: list[Any] = []
        for number in modules:
            if isinstance(number, int) and number in taken:
                draft.notices.append(
                    f"external-connection.endpoints[{index}].modules: module {number} is listed "
                    "before already and is ignored here"
                )
                continue
            kept.append(number)
            if isinstance(number, int):
                taken.add(number)
        endpoint["modules"] = kept
