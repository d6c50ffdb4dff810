"""What runs here, and on what: versions of packages and system, and the shape of the store."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from module_gateway.module_handler.buffer.surroundings import file_sizes
from module_gateway.module_handler.buffer.view import connect_to
from module_gateway.runtime.broker import find_mosquitto

PROGRAM_LIMIT_S: Final = 10.0
_VERSION_CHARS: Final = 200


def packages() -> dict[str, str]:
    """Every installed package with its version."""
    found = {str(each.metadata["Name"]): each.version for each in distributions()}
    return dict(sorted(found.items(), key=lambda each: each[0].lower()))


def system(state_dir: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """The machine as far as it matters; neither its name nor its addresses."""
    return {
        "python": sys.version,
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "distribution": _distribution(),
        "cpus": os.cpu_count(),
        "load": list(os.getloadavg()),
        "memory": _memory(),
        "disk": _disk(state_dir),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        "mosquitto": _mosquitto(environ),
    }


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _memory() -> dict[str, str]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    wanted = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
    pairs = (line.split(":", 1) for line in lines if line.startswith(wanted))
    return {name: value.strip() for name, value in pairs}


def _disk(folder: Path) -> dict[str, int]:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return {}
    return {"total_bytes": usage.total, "free_bytes": usage.free}


def _mosquitto(environ: Mapping[str, str]) -> str:
    """The first line of its help, which names its version."""
    program = find_mosquitto(environ)
    if program is None:
        return "not installed"
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program and a fixed argument
            [program, "-h"], capture_output=True, text=True, timeout=PROGRAM_LIMIT_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"does not run: {type(error).__name__}"
    return (done.stdout or done.stderr).partition("\n")[0][:_VERSION_CHARS]


def store_facts(path: Path) -> dict[str, Any]:
    """Schema, sizes and how many rows: nothing of what stands in them.

    Raises:
        sqlite3.Error: the store cannot be read.
    """
    found: dict[str, Any] = {"exists": path.exists(), "files": file_sizes(path)}
    if not found["exists"]:
        return found
    with closing(connect_to(path)) as connection:
        for pragma in ("application_id", "user_version", "page_size", "page_count",
                       "freelist_count", "journal_mode"):  # fmt: skip
            found[pragma] = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        schema = connection.execute("SELECT name, type, sql FROM sqlite_schema ORDER BY name")
        rows = schema.fetchall()
        found["schema"] = [{"name": name, "type": kind, "sql": sql} for name, kind, sql in rows]
        found["rows"] = {
            # The names are those of the schema, quoted as SQLite wants it.
            name: connection.execute(f'SELECT count(*) FROM "{_quoted(name)}"').fetchone()[0]  # noqa: S608
            for name, kind, _ in rows
            if kind == "table"
        }
    return found


def _quoted(name: str) -> str:
    return str(name).replace('"', '""')
