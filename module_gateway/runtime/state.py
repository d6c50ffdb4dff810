"""The state folder: where it is, who may read it, and the notes that processes leave in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from module_gateway.protocol.errors import ConfigError

RUN_FOLDER: Final = "run"
PRIVATE: Final = 0o700
"""The store and the bus socket are guarded by the folder's mode (decisions: Running)."""


def find_state_dir(configured: Path | None, environ: Mapping[str, str]) -> Path:
    """`configured`, else $XDG_STATE_HOME/module-gateway, else ~/.local/state/module-gateway."""
    if configured is not None:
        return configured.expanduser().absolute()
    base = environ.get("XDG_STATE_HOME", "")
    home = Path(environ.get("HOME") or "~").expanduser()
    root = Path(base) if base.startswith("/") else home / ".local" / "state"
    return root / "module-gateway"


def ensure_state_dir(path: Path) -> Path:
    """Create the folder if needed and return it.

    Raises:
        ConfigError: it cannot be created or written.
    """
    try:
        path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        (path / RUN_FOLDER).mkdir(mode=PRIVATE, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "state-dir",
            got=str(path),
            expected=f"a folder that can be created and written ({error.strerror})",
            hint="give another one with --state-dir",
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(
            "state-dir", got=str(path), expected="a folder in which this user may write"
        )
    return path


@dataclass(frozen=True, slots=True)
class RunNote:
    """What a ready process says about itself in `<state-dir>/run/<component>.json`."""

    component: str
    pid: int
    addresses: dict[str, str]


def run_note_path(state_dir: Path, component: str) -> Path:
    """Where the note of `component` lies."""
    return state_dir / RUN_FOLDER / f"{component}.json"


def write_run_note(state_dir: Path, note: RunNote) -> None:
    """Replace the note at once: a reader sees the old one or the new one."""
    path = run_note_path(state_dir, note.component)
    draft = path.with_suffix(f".{note.pid}.new")
    draft.write_text(json.dumps(asdict(note)) + "\n", encoding="utf-8")
    draft.replace(path)


def read_run_note(state_dir: Path, component: str) -> RunNote | None:
    """The note of `component`, None when there is none or it cannot be read."""
    try:
        fields = json.loads(run_note_path(state_dir, component).read_text(encoding="utf-8"))
        return RunNote(str(fields["component"]), int(fields["pid"]), dict(fields["addresses"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_run_note(state_dir: Path, component: str, pid: int) -> None:
    """Take the note away if it is still the one of process `pid`."""
    note = read_run_note(state_dir, component)
    if note is not None and note.pid == pid:
        run_note_path(state_dir, component).unlink(missing_ok=True)
