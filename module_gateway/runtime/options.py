"""The options that every entry point takes, and the settings that follow from them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.config import default_settings, load
from module_gateway.runtime.process import EXIT_CONFIG
from module_gateway.runtime.settings import Settings


class Once(argparse.Action):
    """An option that may be given once; a second time is wrong usage (fleet-protocol 5.1)."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Store the value, refuse the second one."""
        seen: set[str] = namespace.__dict__.setdefault("_given", set())
        if self.dest in seen:
            parser.error(f"{option_string} is given more than once")
        seen.add(self.dest)
        setattr(namespace, self.dest, values)


def port_number(text: str) -> int:
    """A TCP port of ours from the command line; 0 lets the system choose."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; expected 0 to 65535")
    return int(text)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """`--config`, `--state-dir`, `--log-level` and `--log-format`."""
    parser.add_argument(
        "-c",
        "--config",
        "--config-path",
        dest="config",
        metavar="FILE",
        type=Path,
        action=Once,
        help="JSON or TOML file; the existing gateway's files are accepted",
    )
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        type=Path,
        action=Once,
        help="folder of the store and the bus socket (default: ~/.local/state/module-gateway)",
    )
    parser.add_argument(
        "--log-level",
        metavar="LEVEL",
        type=str.upper,
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        action=Once,
        help="level of the console, over the one in the file",
    )
    parser.add_argument(
        "--log-format",
        choices=("auto", "text", "json"),
        action=Once,
        help="auto: text on a terminal, JSON lines elsewhere",
    )


def settings_of(args: argparse.Namespace, *, needs_endpoints: bool = True) -> Settings:
    """The settings of the file and the common options.

    Raises:
        ConfigError: the file cannot be used; the text names every error in it.
    """
    settings = default_settings()
    if args.config is not None:
        settings = load(args.config, needs_endpoints=needs_endpoints)
    changes: dict[str, object] = {}
    if args.state_dir is not None:
        changes["state_dir"] = args.state_dir
    logging = settings.logging
    if args.log_level is not None:
        console = logging.console.model_copy(update={"level": args.log_level})
        logging = logging.model_copy(update={"console": console})
    if args.log_format is not None:
        logging = logging.model_copy(update={"format": args.log_format})
    return settings.model_copy(update={**changes, "logging": logging})


def load_settings(args: argparse.Namespace, *, needs_endpoints: bool = True) -> Settings:
    """`settings_of(…)`; what is wrong with the file goes to standard error.

    Raises:
        SystemExit: with 78, when the file cannot be used.
    """
    try:
        return settings_of(args, needs_endpoints=needs_endpoints)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        raise SystemExit(EXIT_CONFIG) from error
