"""Reads a configuration file into `Settings`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from module_gateway.runtime.settings import Endpoint, ExternalConnection, Settings

DEFAULT_UPSTREAM = ("127.0.0.1", 18883)


def default_settings() -> Settings:
    """What is used without a file: every default module reports to a control plane next door."""
    host, port = DEFAULT_UPSTREAM
    modules = tuple(int(number) for number in Settings().module_paths)
    endpoint = Endpoint(server_ip=host, port=port, modules=modules)
    return Settings(config_version=1, external_connection=ExternalConnection(endpoints=(endpoint,)))


def load(path: Path) -> Settings:
    """First cut: no checks yet."""
    text = path.read_text(encoding="utf-8")
    fields = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    return Settings.model_validate(fields)
