"""The tables of the control plane's database, for SQLite and for PostgreSQL.

Numbers that are unsigned on the wire (store ids) are kept as signed ones: neither database has
others. A database of a newer version is refused, an older one is brought forward step by step.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError

from module_gateway.protocol.errors import ConfigError, StoreError

VERSION: Final = 1

SIGN: Final = 2**63

ADVISORY_LOCK: Final = 0x4D47_4350
"""PostgreSQL: held by the one control plane that owns the database."""

DRIVERS: Final = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
"""Of each kind of database that we know."""

BUSY_LIMIT_MS: Final = 5_000
"""A tool that looks into the file may hold it for so long."""

META: Final = MetaData()

ABOUT: Final = Table("about", META, Column("version", Integer, nullable=False))

VEHICLES: Final = Table(
    "vehicles",
    META,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("company", Text, nullable=False),
    Column("vehicle", Text, nullable=False),
    Column("first_seen_unix_ms", BigInteger, nullable=False),
    Column("last_seen_unix_ms", BigInteger, nullable=False),
    Column("session_id", Text),
    Column("is_ready", Boolean, nullable=False),
    Column("sessions", Integer, nullable=False),
    Column("end_reason", Text, nullable=False),
    Index("vehicles_by_name", "company", "vehicle", unique=True),
)

DEVICES: Final = Table(
    "devices",
    META,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("vehicle_id", Integer, nullable=False),
    Column("module", Integer, nullable=False),
    Column("device_type", BigInteger, nullable=False),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("first_seen_unix_ms", BigInteger, nullable=False),
    Column("last_seen_unix_ms", BigInteger, nullable=False),
    Column("is_connected", Boolean, nullable=False),
    Column("statuses", BigInteger, nullable=False),
    Column("repeats", BigInteger, nullable=False),
    Column("replayed", BigInteger, nullable=False),
    Column("last_status", BigInteger),
    Column("last_error", BigInteger),
    Column("kept", Integer, nullable=False),
    Column("kept_bytes", BigInteger, nullable=False),
)

STATUSES: Final = Table(
    "statuses",
    META,
    Column("device_id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("place", BigInteger, nullable=False),
    Column("received_unix_ms", BigInteger, nullable=False),
    Column("state", Integer, nullable=False),
    Column("status", LargeBinary, nullable=False),
    Column("error", LargeBinary),
    Column("time_unix_ms", BigInteger, nullable=False),
    Column("store_id", BigInteger),
    Column("sequence", BigInteger),
    Column("is_replayed", Boolean, nullable=False),
    Index("statuses_by_place", "device_id", "place"),
    sqlite_with_rowid=False,
)
"""`place`: the order in which the gateway recorded them; see `places`."""

POSITIONS: Final = Table(
    "positions",
    META,
    Column("device_id", Integer, primary_key=True, autoincrement=False),
    Column("store_id", BigInteger, primary_key=True, autoincrement=False),
    Column("advanced", BigInteger, nullable=False),
    Column("up_to", BigInteger, nullable=False),
    Column("stretches", Text, nullable=False),
)
"""`advanced` orders the stores of a device; `stretches` is JSON, "" for none."""

SESSIONS: Final = Table(
    "sessions",
    META,
    Column("vehicle_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("session_id", Text, nullable=False),
    Column("started_unix_ms", BigInteger, nullable=False),
    Column("devices", Integer, nullable=False),
    Column("ready_unix_ms", BigInteger),
    Column("ended_unix_ms", BigInteger),
    Column("end_reason", Text, nullable=False),
    Column("statuses", BigInteger, nullable=False),
    Column("folds", BigInteger, nullable=False),
    Column("replayed", BigInteger, nullable=False),
)

COMMANDS: Final = Table(
    "commands",
    META,
    Column("command_id", Text, primary_key=True),
    Column("ordinal", BigInteger, nullable=False),
    Column("vehicle_id", Integer, nullable=False),
    Column("module", Integer, nullable=False),
    Column("device_type", BigInteger, nullable=False),
    Column("role", Text, nullable=False),
    Column("command", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_unix_ms", BigInteger, nullable=False),
    Column("changed_unix_ms", BigInteger, nullable=False),
    Column("expires_unix_ms", BigInteger, nullable=False),
    Column("counter", BigInteger),
    Column("response", Integer),
)

MIGRATIONS: Final[Mapping[int, Callable[[Connection], None]]] = {}
"""What makes of version n version n + 1. None yet."""


def to_signed(number: int) -> int:
    """An unsigned number of 64 bits as databases hold it."""
    return number - 2 * SIGN if number >= SIGN else number


def to_unsigned(number: int) -> int:
    """What `to_signed` was given."""
    return number + 2 * SIGN if number < 0 else number


def make_engine(url: str) -> Engine:
    """An engine for the database at `url`; nothing is connected yet.

    Raises:
        ConfigError: no such kind of database, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
        driver = DRIVERS[parsed.get_backend_name()]
        engine = create_engine(parsed.set(drivername=driver), pool_pre_ping=True)
    except (ArgumentError, KeyError, ModuleNotFoundError) as error:
        raise ConfigError(
            "control-plane-settings.database",
            got=url.partition("://")[0],
            expected='"sqlite:///FILE", "postgresql://USER@HOST/NAME" (extra `postgresql`), '
            'or "memory"',
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's own
    """What is acknowledged is on the disk: a sync per transaction, many statuses in each."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_LIMIT_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def prepare(connection: Connection) -> None:
    """Make the tables, or bring them forward.

    Raises:
        StoreError: they are of a newer version than this program's.
    """
    if not inspect(connection).has_table(ABOUT.name):
        META.create_all(connection)
        connection.execute(ABOUT.insert(), {"version": VERSION})
        return
    version = connection.execute(select(ABOUT.c.version)).scalar_one()
    if version > VERSION:
        raise StoreError(
            f"the database has version {version}, this program knows up to {VERSION}: "
            "it was used by a newer one"
        )
    for step in range(version, VERSION):
        MIGRATIONS[step](connection)
    connection.execute(ABOUT.update(), {"version": VERSION})


class Owner:
    """The right to be the only control plane on a database, for as long as it is held."""

    def __init__(self, engine: Engine) -> None:
        """Take it.

        Raises:
            StoreError: another process has it.
        """
        self._file: IO[bytes] | None = None
        self._connection: Connection | None = None
        path = engine.url.database or ""
        if engine.dialect.name == "postgresql":
            self._connection = engine.connect()
            lock = text("SELECT pg_try_advisory_lock(:key)")
            is_ours = bool(self._connection.execute(lock, {"key": ADVISORY_LOCK}).scalar_one())
            self._connection.commit()
        elif path and path != ":memory:":
            self._file = Path(f"{path}.lock").open("ab")  # noqa: SIM115 - held for life
            is_ours = _is_locked(self._file)
        else:
            is_ours = True
        if not is_ours:
            self.release()
            raise StoreError(f"another control plane uses the database {engine.url.database}")

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            self._file.close()
        if self._connection is not None:
            self._connection.close()


def _is_locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
