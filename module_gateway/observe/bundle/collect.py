"""What goes into a bundle. A part that cannot be had is named in the manifest; the rest goes in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Final

from module_gateway.module_handler.buffer import stat_report
from module_gateway.module_handler.buffer.export import write_lines
from module_gateway.module_handler.buffer.place import Place, place_of
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.buffer.view import open_view
from module_gateway.observe.bundle.archive import Archive
from module_gateway.observe.bundle.known_secrets import named_environment
from module_gateway.observe.bundle.log_tail import log_tail
from module_gateway.observe.bundle.surroundings import packages, store_facts, system
from module_gateway.observe.status.probes import Answer, notes_in
from module_gateway.observe.status.processes import look
from module_gateway.observe.status.report import Reporter
from module_gateway.observe.status.screen import screen
from module_gateway.protocol.errors import GatewayError
from module_gateway.runtime.check import check_surroundings
from module_gateway.runtime.check import line as check_line
from module_gateway.runtime.config import effective_configuration
from module_gateway.runtime.log import FILE_NAME
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.state import RUN_FOLDER

MAX_ENTRIES: Final = 10_000
"""Of the outbox, oldest first, when payloads are asked for."""


class Collector:
    """Collects everything about one gateway into an archive."""

    def __init__(
        self,
        settings: Settings,
        archive: Archive,
        environ: Mapping[str, str],
        now_unix_ms: int,
        wait: Callable[[], None],
    ) -> None:
        """`wait` lets pass the time between the two looks that make rates."""
        self._settings = settings
        self._archive = archive
        self._environ = environ
        self._now_unix_ms = now_unix_ms
        self._wait = wait
        self._place: Place = place_of(settings)

    def collect(self, *, has_payloads: bool) -> None:
        """Everything; `has_payloads`: also what devices said."""
        parts: dict[str, Callable[[], None]] = {
            "configuration.json": self._configuration,
            "versions.json": self._versions,
            "run": self._notes,
            "check.txt": self._check,
            "status": self._status,
            "processes": self._processes,
            "buffer.json": self._buffer,
            "store.json": self._store,
            "log": lambda: self._log(has_payloads=has_payloads),
        }
        if has_payloads:
            parts["entries.jsonl"] = self._entries
        for name, part in parts.items():
            try:
                part()
            except (GatewayError, OSError, sqlite3.Error, ValueError) as error:
                self._archive.lacks(name, error)

    def _configuration(self) -> None:
        configuration = {
            "file": self._settings.source or None,
            "notices": list(self._settings.notices),
            "settings": effective_configuration(self._settings),
            "environment": named_environment(self._environ),
        }
        what = "every setting in force, secrets hidden, and the variables that the gateway reads"
        self._archive.add_json("configuration.json", configuration, what)

    def _versions(self) -> None:
        found = {"system": system(self._place.state_dir, self._environ), "packages": packages()}
        self._archive.add_json("versions.json", found, "versions of packages, Python and system")

    def _notes(self) -> None:
        for path in notes_in(self._place.state_dir / RUN_FOLDER):
            text = path.read_text(encoding="utf-8", errors="replace")
            self._archive.add(f"run/{path.name}", text, "what this process wrote down of itself")

    def _check(self) -> None:
        findings = list(check_surroundings(self._settings, self._environ))
        text = "".join(f"{check_line(each)}\n" for each in findings)
        self._archive.add("check.txt", text, "module-gateway check, without the configuration")
        self._archive.add_json("check.json", [asdict(each) for each in findings], "likewise")

    def _status(self) -> None:
        reporter = Reporter(self._settings)
        reporter.report()
        self._wait()
        report = reporter.report()
        self._archive.add("status.txt", screen(report), "module-gateway status")
        self._archive.add_json("status.json", report, "likewise")

    def _processes(self) -> None:
        _, answers = look(self._place.state_dir)
        for name, answer in answers.items():
            self._process(name, answer)

    def _process(self, name: str, answer: Answer) -> None:
        if answer.checks is None:
            self._archive.lacks(f"processes/{name}", answer.failure)
            return
        checks = {
            check: {"ok": is_ok, "detail": detail}
            for check, (is_ok, detail) in answer.checks.items()
        }
        self._archive.add_json(f"processes/{name}-readyz.json", checks, "its checks at that moment")
        what = "its metrics at that moment"
        self._archive.add(f"processes/{name}-metrics.txt", answer.metrics_text, what)

    def _buffer(self) -> None:
        found = stat_report.report(self._place, self._now_unix_ms, has_devices=True)
        what = "module-gateway buffer stat --devices: how much waits, no content"
        self._archive.add_json("buffer.json", found, what)

    def _store(self) -> None:
        what = "schema, sizes and numbers of rows of the store, no content"
        self._archive.add_json("store.json", store_facts(self._place.store), what)

    def _log(self, *, has_payloads: bool) -> None:
        sink = self._settings.logging.file
        if not sink.use:
            return
        text = log_tail(Path(sink.path) / FILE_NAME, has_payloads=has_payloads)
        self._archive.add(f"log/{FILE_NAME}", text, "the newest lines of the log file")

    def _entries(self) -> None:
        lines: list[str] = []
        with open_view(self._place.store) as view:
            entries = islice(view.entries(Selection()), MAX_ENTRIES)
            write_lines(entries, lines.append, lambda _said: None)
        what = f"the oldest entries of the outbox, at most {MAX_ENTRIES:,}, with their payloads"
        self._archive.add("entries.jsonl", "".join(lines), what)
