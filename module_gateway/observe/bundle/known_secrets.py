"""Every secret that this gateway was given, so that none of them leaves with a bundle."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from module_gateway.observe.secrets import SECRET_NAME, Scrubber, secret_values
from module_gateway.runtime.settings import Settings

MAX_SECRET_BYTES: Final = 64 * 1024
"""No key or token is larger."""

_SECRET_FOLDERS: Final = ("secrets", "credentials")
"""Below the state folder: whatever lies there is secret."""

_KEY_NAME: Final = "key"


def scrubber_of(settings: Settings, state_dir: Path, environ: Mapping[str, str]) -> Scrubber:
    """Knows what configuration, the files it names, state folder and environment say."""
    return Scrubber(set(_values(settings, state_dir, environ)))


def _values(settings: Settings, state_dir: Path, environ: Mapping[str, str]) -> Iterator[str]:
    dumped = settings.model_dump(mode="json", by_alias=True)
    yield from secret_values(dumped)
    for name, value in _texts("", dumped):
        if _KEY_NAME in name.lower() or SECRET_NAME.search(name):
            yield from _content(Path(value))
    for name, value in environ.items():
        if name.endswith("_FILE") and SECRET_NAME.search(name.removesuffix("_FILE")):
            yield from _content(Path(value))
        elif SECRET_NAME.search(name):
            yield value
    if settings.source:
        # Secrets of a kind that this version does not know stand in the file all the same.
        yield from _of_source(Path(settings.source))
    for path in _secret_files(state_dir):
        yield from _content(path)


def _of_source(path: Path) -> Iterator[str]:
    for text in _content(path):
        try:
            yield from secret_values(
                tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
            )
        except ValueError:
            continue


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    match value:
        case dict():
            for key, inner in value.items():
                yield from _texts(str(key), inner)
        case list():
            for inner in value:
                yield from _texts(name, inner)
        case str() if value:
            yield name, value
        case _:
            return


def _content(path: Path) -> Iterator[str]:
    """The text of a small file; nothing when there is none or it cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_SECRET_BYTES:
            return
        yield path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return


def _secret_files(state_dir: Path) -> Iterator[Path]:
    try:
        for folder in _SECRET_FOLDERS:
            yield from (each for each in (state_dir / folder).rglob("*") if each.is_file())
        for each in state_dir.iterdir():
            if SECRET_NAME.search(each.stem) and each.is_file():
                yield each
    except OSError:
        return


def named_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that the gateway reads."""
    ours = ("MODULE_GATEWAY_", "IPC_MQTT_", "XDG_STATE_HOME", "PYTHON", "LANG", "LC_", "TZ")
    return {name: environ[name] for name in sorted(environ) if name.startswith(ours)}


def current_environment() -> Mapping[str, str]:
    """Of this process."""
    return os.environ
