"""Log lines: fixed fields, one line per state change, nothing of a peer unescaped.

Text for people or one JSON object per line for machines; the optional file is the existing
gateway's `ModuleGateway.log` with its rotation (fleet-protocol 5.1).
"""

from __future__ import annotations

import fcntl
import logging
import logging.handlers
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final, Protocol, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.settings import Logging, LogSink
from module_gateway.runtime.text_lines import for_file, for_terminal

FILE_NAME: Final = "ModuleGateway.log"
FILE_SIZE_BYTES: Final = 50 * 1024 * 1024  # fleet-protocol 5.1
FILE_ROTATIONS: Final = 5  # fleet-protocol 5.1
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MAX_VALUE_CHARS: Final = 4096  # an event field is a fact, not a document
HANDLER_NAME: Final = "module-gateway"


class Console(Protocol):
    """As much of a text stream as log lines need."""

    def write(self, text: str, /) -> object: ...
    def isatty(self) -> bool: ...


def clean_text(text: object, max_chars: int = 64) -> str:
    """Text of a peer as one harmless printable piece of a log line.

    Bytes are read as UTF-8. What cannot be printed (control, direction and surrogate characters
    included) appears as a backslash escape; what exceeds `max_chars` is cut and marked by "…".
    """
    if isinstance(text, (bytes, bytearray, memoryview)):
        whole = bytes(text[: max_chars * 4 + 1]).decode("utf-8", "backslashreplace")
    else:
        whole = str(text)
    kept = whole[:max_chars]
    clean = kept if kept.isprintable() else _escape(kept)
    if len(whole) > max_chars or len(clean) > max_chars:
        return clean[:max_chars] + "…"
    return clean


def _escape(text: str, keep: str = "") -> str:
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _escape_fields(
    _logger: object, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Second line of defence: a field that somebody forgot to clean cannot forge a line either."""
    for key, value in event_dict.items():
        if isinstance(value, str) and key != "exception":
            if not value.isprintable():
                event_dict[key] = clean_text(value, MAX_VALUE_CHARS)
            elif len(value) > MAX_VALUE_CHARS:
                event_dict[key] = value[:MAX_VALUE_CHARS] + "…"
    if isinstance(event_dict.get("exception"), str):
        event_dict["exception"] = _escape(event_dict["exception"], keep="\n")
    return event_dict


def _text_renderer(component: str, *, is_file: bool, is_coloured: bool) -> Processor:
    def render(_logger: object, _method: str, event_dict: MutableMapping[str, Any]) -> str:
        event_dict.pop("in_full", None)  # that field is for machines
        if is_file:
            return for_file(event_dict, component)
        return for_terminal(event_dict, is_coloured=is_coloured)

    return render


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of one module; pass `__name__`. Usable before and after `configure`."""
    return cast("FilteringBoundLogger", structlog.get_logger(name))


def level_number(level: str) -> int:
    """The number of a level name in any case; an unknown name is DEBUG (fleet-protocol 5.1)."""
    known = level.upper() in LEVELS
    return int(getattr(logging, level.upper())) if known else logging.DEBUG


def configure(settings: Logging, component: str, stream: Console | None = None) -> None:
    """Send all log lines of this process where `settings` say; may be called again.

    `stream` is the console, standard error by default.

    Raises:
        ConfigError: the log file's folder does not exist or cannot be written.
    """
    console: Console = stream if stream is not None else sys.stderr
    handlers: list[logging.Handler] = []
    if settings.console.use:
        is_terminal = console.isatty()
        is_json = settings.format == "json" or (settings.format == "auto" and not is_terminal)
        writer = logging.StreamHandler(console)
        handlers.append(_prepare(writer, settings.console, component, is_json, is_terminal))
    if settings.file.use:
        is_json = settings.format != "text"
        handlers.append(_prepare(_open_file(settings.file), settings.file, component, is_json))
    lowest = min((handler.level for handler in handlers), default=logging.CRITICAL)
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if handler.name == HANDLER_NAME]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(lowest)
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _prepare(
    handler: logging.Handler,
    sink: LogSink,
    component: str,
    is_json: bool,  # noqa: FBT001
    is_coloured: bool = False,  # noqa: FBT001, FBT002
) -> logging.Handler:
    def name_component(
        _logger: object, _method: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        first = {key: event_dict.pop(key) for key in ("time", "level") if key in event_dict}
        return {**first, "component": component, "event": event_dict.pop("event"), **event_dict}

    chain: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _escape_fields,
    ]
    if is_json:
        chain += [name_component, structlog.processors.JSONRenderer(default=str)]
    else:
        is_file = isinstance(handler, logging.FileHandler)
        chain.append(_text_renderer(component, is_file=is_file, is_coloured=is_coloured))
    foreign: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=chain, foreign_pre_chain=foreign)
    )
    handler.addFilter(_is_ours_or_serious)
    handler.setLevel(level_number(sink.level))
    handler.name = HANDLER_NAME
    return handler


def _is_ours_or_serious(record: logging.LogRecord) -> bool:
    """Libraries may warn; their chatter at lower levels is not ours to keep."""
    return hasattr(record, "_logger") or record.levelno >= logging.WARNING


def _open_file(sink: LogSink) -> SharedRotatingFile:
    folder = Path(sink.path)
    if not sink.path or not folder.is_dir():
        raise ConfigError(
            "logging.file.path", got=sink.path, expected="a folder that exists", hint="create it"
        )
    try:
        return SharedRotatingFile(folder / FILE_NAME)
    except OSError as error:
        raise ConfigError(
            "logging.file.path",
            got=sink.path,
            expected=f"a folder in which this user may write ({error.strerror})",
        ) from error


class SharedRotatingFile(logging.handlers.RotatingFileHandler):
    """The log file that all processes of one gateway append to and any of them may rotate."""

    def __init__(
        self, path: Path, size_bytes: int = FILE_SIZE_BYTES, rotations: int = FILE_ROTATIONS
    ) -> None:
        super().__init__(path, maxBytes=size_bytes, backupCount=rotations, encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; follow the file when another process rotated it."""
        if not self._is_current():
            self._reopen()
        super().emit(record)

    def doRollover(self) -> None:  # noqa: N802 - the name is the standard library's
        """Rotate unless another process did so while this one waited for its turn."""
        with Path(self.baseFilename + ".lock").open("a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_current():
                super().doRollover()
            else:
                self._reopen()

    def _is_current(self) -> bool:
        if self.stream is None:
            return False
        try:
            named = Path(self.baseFilename).stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(self.stream.fileno()))

    def _reopen(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.stream = self._open()
