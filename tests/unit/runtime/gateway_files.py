"""Configuration files in the form of the existing C++ gateway (fleet-protocol 5.1)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

MINIMAL: dict[str, Any] = {
    "logging": {
        "console": {"level": "INFO", "use": True},
        "file": {"level": "DEBUG", "use": False, "path": ""},
    },
    "internal-server-settings": {"port": 1636},
    "module-paths": {
        "1": "./libmission-module-gateway-shared.so",
        "2": "./libio-module-gateway-shared.so",
    },
    "external-connection": {
        "company": "bringauto",
        "vehicle-name": "virtual_vehicle",
        "endpoints": [
            {
                "protocol-type": "mqtt",
                "server-ip": "localhost",
                "port": 1883,
                "modules": [1, 2],
                "mqtt-settings": {
                    "ssl": False,
                    "ca-file": "ca.pem",
                    "client-cert": "client.pem",
                    "client-key": "key.pem",
                },
            }
        ],
    },
}

DOCKER: dict[str, Any] = {
    "logging": {
        "console": {"level": "debug", "use": True},
        "file": {"level": "Debug", "use": True, "path": "<log folder>"},
    },
    "internal-server-settings": {"port": 1636},
    "module-paths": {
        "1": "/home/gateway/modules/mission_module/lib/libmission-module-gateway-shared.so",
        "2": "/home/gateway/modules/io_module/lib/libio-module-gateway-shared.so",
        "3": "/home/gateway/modules/transparent/lib/libtransparent-module-gateway-shared.so",
        "1000": "/home/gateway/modules/example_module/lib/libexample-module-gateway-shared.so",
    },
    "module-binary-path": "/home/gateway/bin/module-gateway-module-binary",
    "external-connection": {
        "company": "company_1",
        "vehicle-name": "car_007",
        "endpoints": [
            {
                "protocol-type": "MQTT",
                "server-ip": "mosquitto",
                "port": 1883,
                "modules": [1],
                "mqtt-settings": {"ssl": False},
            },
            {
                "protocol-type": "Mqtt",
                "server-ip": "192.0.2.7",
                "port": 8883,
                "modules": [1, 2, 1000],
                "mqtt-settings": {"ssl": False},
            },
        ],
    },
}

REFERENCE_DEPLOYMENT: dict[str, Any] = {
    "logging": {
        "console": {"level": "DEBUG", "use": True},
        "file": {"level": "DEBUG", "use": False, "path": "./"},
    },
    "internal-server-settings": {"port": 1636},
    "module-paths": {
        "1": "/gateway/lib/libmission-module-gateway-shared.so",
        "2": "/gateway/lib/libio-module-gateway-shared.so",
    },
    "external-connection": {
        "company": "bringauto",
        "vehicle-name": "virtual_vehicle",
        "endpoints": [
            {
                "protocol-type": "MQTT",
                "server-ip": "vernemq",
                "port": 8883,
                "modules": [1, 2],
                "mqtt-settings": {
                    "ssl": True,
                    "ca-file": "certs/ca.pem",
                    "client-cert": "certs/client.pem",
                    "client-key": "certs/client-key.pem",
                },
            }
        ],
    },
}


def changed(fields: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `fields` with another value at a dotted path; digits are list indices."""
    whole = copy.deepcopy(fields)
    section: Any = whole
    *parts, last = path.split(".")
    for part in parts:
        section = section[int(part)] if isinstance(section, list) else section[part]
    if isinstance(section, list):
        section[int(last)] = value
    else:
        section[last] = value
    return whole


def write(folder: Path, fields: object, name: str = "config.json") -> Path:
    """The fields as a JSON file."""
    path = folder / name
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path
