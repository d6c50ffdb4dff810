"""The folder of one run: `run.json`, `junit.xml` and `report.html`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from fleet_lab.errors import EXIT_CONFIG, EXIT_FAILED, LabError, missing_extra
from fleet_lab.report.model import FORMAT, Run

RUN_FILE: Final = "run.json"
JUNIT_FILE: Final = "junit.xml"
PAGE_FILE: Final = "report.html"
_RUN: Final = TypeAdapter(Run)


def write_run(run: Run, folder: Path, junit: str = "") -> list[Path]:
    """Write all of it, `run.json` first: what follows can be made again from it.

    Returns the files in the order of writing.

    Raises:
        LabError: the folder cannot be written, or Jinja2 is missing (`run.json` and `junit.xml`
            are there in both cases in which they could be).
    """
    files = {RUN_FILE: run_to_text(run)}
    if junit:
        files[JUNIT_FILE] = junit
    written = [_write(folder, name, text) for name, text in files.items()]
    return [*written, _write(folder, PAGE_FILE, render_page(run))]


def render_page(run: Run) -> str:
    """The HTML page of a run.

    Raises:
        LabError: Jinja2 is not installed.
    """
    try:
        from fleet_lab.report.page import render  # noqa: PLC0415  # Jinja2 is an extra
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("fleet_lab"):
            raise
        raise missing_extra(str(missing.name), "lab", "the HTML report") from missing
    return render(run)


def run_to_text(run: Run) -> str:
    """The text of `run.json`."""
    return json.dumps(_RUN.dump_python(run, mode="json"), indent=1) + "\n"


def read_run(path: Path) -> Run:
    """The run of a folder or of its `run.json`.

    Raises:
        LabError: there is none, or it is not one; exit code 78.
    """
    file = path / RUN_FILE if path.is_dir() else path
    try:
        found: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise LabError(f"{file}: {error.strerror}", EXIT_CONFIG) from error
    except ValueError as error:
        raise LabError(f"{file}: this is not JSON: {error}", EXIT_CONFIG) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise LabError(f"{file}: not a run of format {FORMAT}", EXIT_CONFIG)
    try:
        return _RUN.validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LabError(f"{file}: {where}: {first['msg']}", EXIT_CONFIG) from error


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}", EXIT_FAILED) from error
    return path
