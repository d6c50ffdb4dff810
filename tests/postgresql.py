"""A real, private PostgreSQL for tests, on a Unix socket alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

USER: Final = "postgres"
START_LIMIT_S: Final = 60.0


def find_programs() -> Path | None:
    """The folder of the newest server; distributions do not put it on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class PostgresqlServer:
    """One server; each test gets a database of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._databases = 0

    def new_database(self) -> str:
        """The URL of an empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://{USER}@/{name}?host={self._folder}"

    def answers(self) -> bool:
        """Whether it can be talked to."""
        try:
            psycopg.connect(self._conninfo("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _conninfo(self, name: str) -> str:
        return f"host={self._folder} user={USER} dbname={name}"


@contextmanager
def running_postgresql(programs: Path) -> Iterator[PostgresqlServer]:
    """A server that refuses to run as root runs as its distribution's user then."""
    with tempfile.TemporaryDirectory(prefix="mg-pg-") as name:
        folder = Path(name)
        as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
            as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        place = folder / "data"
        subprocess.run(
            [*as_user, str(programs / "initdb"), "-D", str(place), "-U", USER, "-A", "trust",
             "--no-sync", "--encoding=UTF8"],
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        process = subprocess.Popen(
            [*as_user, str(programs / "postgres"), "-D", str(place), "-k", name,
             "-c", "listen_addresses=", "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        try:
            server = PostgresqlServer(folder)
            until = time.monotonic() + START_LIMIT_S
            while not server.answers():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("PostgreSQL did not start")
                time.sleep(0.05)  # another process's progress: nothing to wait for
            yield server
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)
