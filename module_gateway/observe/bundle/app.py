"""`module-gateway bundle`: one file for a bug report."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from module_gateway.observe.bundle.archive import Archive, new_archive
from module_gateway.observe.bundle.collect import Collector
from module_gateway.observe.bundle.known_secrets import current_environment, scrubber_of
from module_gateway.observe.status.report import SPAN_S
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.options import Once, add_common_options, load_settings
from module_gateway.runtime.process import EXIT_CONFIG, EXIT_FAILED, EXIT_OK
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.state import find_state_dir

PROGRAM: Final = "module-gateway bundle"


def build_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Collect what a bug report needs into one .tar.gz: configuration, versions, "
        "state, metrics, log. Without secrets, and without what devices said.",
        allow_abbrev=False,
    )
    add_common_options(parser)
    parser.add_argument(
        "--output", metavar="FILE", type=Path, action=Once,
        help="default: module-gateway-bundle-TIME.tar.gz, here",
    )  # fmt: skip
    parser.add_argument(
        "--with-payloads", action="store_true",
        help="also what waits in the outbox, and payloads in log lines",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="what is inside as one JSON object")
    return parser


def make_bundle(settings: Settings, path: Path, *, has_payloads: bool) -> dict[str, Any]:
    """Write the bundle; returns where it is and what is inside.

    Raises:
        OSError: it cannot be written, or the file exists.
    """
    environ = current_environment()
    state_dir = find_state_dir(settings.state_dir, environ)
    now_unix_ms = time.time_ns() // 1_000_000
    with new_archive(path, scrubber_of(settings, state_dir, environ)) as archive:
        collector = Collector(settings, archive, environ, now_unix_ms, lambda: time.sleep(SPAN_S))
        collector.collect(has_payloads=has_payloads)
        archive.close(_about(now_unix_ms, has_payloads=has_payloads))
        return _report(path, archive)


def _about(now_unix_ms: int, *, has_payloads: bool) -> dict[str, Any]:
    try:
        release = version("module-gateway")
    except PackageNotFoundError:
        release = "unknown"
    moment = datetime.fromtimestamp(now_unix_ms / 1000, UTC)
    return {
        "made": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "module_gateway": release,
        "has_payloads": has_payloads,
    }


def _report(path: Path, archive: Archive) -> dict[str, Any]:
    return {"file": str(path), "contents": archive.names, "missing": archive.failures}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bundle and say where it is; 0 done, 1 failed, 78 configuration.

    Raises:
        SystemExit: wrong usage (2), a configuration that cannot be used (78), or `--help`.
    """
    args = build_parser().parse_args(argv)
    settings = load_settings(args, needs_endpoints=False)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    path: Path = args.output or Path(f"module-gateway-bundle-{stamp}.tar.gz")
    try:
        found = make_bundle(settings, path, has_payloads=args.with_payloads)
    except ConfigError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return EXIT_CONFIG
    except OSError as error:
        sys.stderr.write(f"{PROGRAM}: {path}: {error.strerror or error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED
    if args.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return EXIT_OK
    sys.stdout.write(f"{found['file']}\n")
    for each in found["missing"]:
        sys.stderr.write(f"{PROGRAM}: without {each['name']}: {each['why']}\n")
    held = "what devices said is in it" if args.with_payloads else "what devices said is not in it"
    sys.stderr.write(
        f"{PROGRAM}: {len(found['contents'])} files; configured secrets are taken out, {held}; "
        "look through it before you send it\n"
    )
    return EXIT_OK
