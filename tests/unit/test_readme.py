"""The pages are true: what they tell people to type exists, what they show is what runs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

import prometheus_client
import pytest

from fleet_lab import cli as fleet_lab
from fleet_lab.files import load_experiment
from module_gateway import cli as module_gateway
from module_gateway.control_plane.api import PostedCommand, create_app
from module_gateway.control_plane.server import ControlPlane
from module_gateway.modules.catalog import load_modules
from module_gateway.protocol.errors import Reason
from module_gateway.runtime.config import load
from module_gateway.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/lab.md", "docs/migrate.md",
    "docs/operate.md", "docs/reliability.md",
)  # fmt: skip
MARKS = {
    "sh", "sh run", "python", "python run", "python test", "json config", "json entry",
    "toml fleet", "text",
}  # fmt: skip
"""sh: every command is checked against what it calls; sh run: `tests/integration/test_buffer.py`
runs it; python: stands in an example that a test runs; python run, python test:
`tests/integration/test_page_examples.py` runs it; json config and toml fleet: is loaded; json
entry: `test_docs_buffer.py` reads it; text: a picture."""
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def blocks(mark: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for found in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
            if found[1] == mark:
                yield page, found[2]


def shell_commands() -> list[list[str]]:
    return [
        words
        for _, text in blocks("sh")
        for line in text.splitlines()
        if (words := shlex.split(line, comments=True))
    ]


COMMANDS = shell_commands()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_mark_that_is_checked_here(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [match[1] for match in BLOCK.finditer(text)]
    assert set(found) <= MARKS
    assert text.count("\n```") == 2 * len(found)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    targets = [target for target in LINK.findall(text) if "://" not in target]
    missing = [t for t in targets if not ((ROOT / page).parent / t).exists()]
    assert missing == []


def test_python_of_the_pages_stands_in_the_example_that_runs() -> None:
    example = (ROOT / "examples/device.py").read_text(encoding="utf-8")
    shown = [text for _, text in blocks("python")]
    assert shown
    for text in shown:
        indented = "".join(
            f"    {line}" if line.strip() else line for line in text.splitlines(True)
        )
        assert indented in example


@pytest.mark.parametrize(("page", "text"), list(blocks("json config")))
def test_configurations_of_the_pages_are_accepted(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "my.json").write_text(text)
    settings = load(tmp_path / "my.json")
    assert settings.external_connection.endpoints


@pytest.mark.parametrize(("page", "text"), list(blocks("toml fleet")))
def test_fleet_files_of_the_pages_are_accepted(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(text)
    assert load_experiment(tmp_path / "my.toml").checks


def programs() -> set[str]:
    return {Path(words[0]).name for words in COMMANDS}


def test_only_programs_that_are_checked_here_are_called() -> None:
    assert programs() <= {
        "make", "curl", "python", "python3", "fleet-lab", "module-gateway", "docker",
        "install", "systemctl", "pytest",
    }  # fmt: skip


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "make"], ids=" ".join)
def test_make_targets_exist(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{words[1]}:.*## ", makefile, re.MULTILINE)
    assert all(word.startswith("ARGS=") for word in words[2:])


@pytest.mark.parametrize(
    "words", [w for w in COMMANDS if Path(w[0]).name == "fleet-lab"], ids=" ".join
)
def test_flags_of_fleet_lab_are_accepted(words: list[str]) -> None:
    fleet_lab.build_parser().parse_args(words[1:])


def accepts(parser_main: object, words: list[str]) -> bool:
    """Whether the flags exist: `--help` at the end is reached only when all others were good."""
    assert callable(parser_main)
    out = StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as end:
        parser_main([*words, "--help"])
    return end.value.code == 0 and all(
        word.split("=")[0] in out.getvalue() for word in words if word.startswith("-")
    )


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "module-gateway"], ids=" ".join)
def test_commands_and_flags_of_module_gateway_exist(words: list[str]) -> None:
    rest = words[1:] if not words[1].startswith("-") else ["run", *words[1:]]
    flags = [word for word in rest[1:] if not word.endswith((".json", "door_sensor"))]
    if rest[0] == "module":
        assert rest[1] == "new"
        flags = ["new"]
    values = ["my.json"] if flags and flags[-1] in {"-c", "--config"} else []
    assert accepts(lambda argv: module_gateway.main([rest[0], *argv]), [*flags, *values])


@pytest.mark.parametrize(
    "words", [w for w in COMMANDS if Path(w[0]).name.startswith("python")], ids=" ".join
)
def test_scripts_and_their_flags_exist(words: list[str]) -> None:
    if words[1] == "-m":
        assert accepts_with_help(words[2:])
        return
    script = ROOT / words[1]
    assert script.is_file()
    if script.name.startswith("run_"):
        line = re.search(r"from (module_gateway\.\S+) import main", script.read_text())
        assert line is not None
        module = import_module(line[1])
        assert accepts(module.main, words[2:])


def accepts_with_help(words: list[str]) -> bool:
    command = [sys.executable, "-m", *words, "--help"]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    "words", [w for w in COMMANDS if Path(w[0]).name == "pytest"], ids=" ".join
)
def test_tests_that_are_named_exist(words: list[str]) -> None:
    places = [word for word in words[1:] if word.startswith("tests/")]
    assert places
    assert all((ROOT / place).exists() for place in places)
    names = words[words.index("-k") + 1].split(" or ") if "-k" in words else []
    for name in names:
        files = (file for place in places for file in (ROOT / place).rglob("*.py"))
        assert any(f"def {name}" in file.read_text(encoding="utf-8") for file in files), name


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "docker"], ids=" ".join)
def test_docker_files_exist(words: list[str]) -> None:
    match words[1:]:
        case ["compose", "up"]:
            assert (ROOT / "docker-compose.yml").is_file()
        case ["build", "-t", _, "-f", file, "."]:
            assert (ROOT / file).is_file()
        case _:
            pytest.fail(f"nobody checks {words}")


@pytest.mark.parametrize(
    "words", [w for w in COMMANDS if w[0] in {"install", "systemctl"}], ids=" ".join
)
def test_files_and_services_of_the_unit_exist(words: list[str]) -> None:
    units = {path.name for path in (ROOT / "deploy/systemd").iterdir()}
    if words[0] == "install":
        source = words[-2]
        assert source == "my.json" or (ROOT / source).is_file()
    else:
        assert words[-1] == "daemon-reload" or f"{words[-1]}.service" in units


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "curl"], ids=lambda w: w[-1])
def test_addresses_exist_and_bodies_are_accepted(words: list[str]) -> None:
    settings = Settings()
    url = urlsplit(words[-1])
    if url.port != settings.control_plane_settings.http_port:
        ports = {
            settings.internal_server_settings.metrics_port,
            settings.module_handler_settings.metrics_port,
        }
        assert url.port in ports
        assert url.path in {"/readyz", "/metrics", "/healthz"}
        return
    modules = load_modules(settings.module_paths, settings.module_settings)
    app = create_app(ControlPlane(settings, modules))
    method = "post" if "POST" in words else "get"
    templates = [path for path, at in app.openapi()["paths"].items() if method in at]
    patterns = [re.sub(r"\{[^}]*\}", "[^/]+", template) for template in templates]
    assert any(re.fullmatch(pattern, url.path) for pattern in patterns)
    if method == "post":
        body = json.loads(words[words.index("-d") + 1])
        command = PostedCommand.model_validate(body).to_bytes()
        assert modules[1].command_data_valid(command, 1)


def test_every_reason_is_explained_for_operators() -> None:
    page = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(?!module_gateway)([a-z_]+)` \|", page, re.MULTILINE)
    assert sorted(set(explained)) == sorted(Reason)


def test_metrics_that_are_named_exist() -> None:
    pages = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    for package in sorted(p.parent.name for p in (ROOT / "module_gateway").glob("*/metrics.py")):
        import_module(f"module_gateway.{package}.metrics")
    exported = prometheus_client.generate_latest().decode()
    named = set(re.findall(r"module_gateway_[a-z_]+(?=[`{])", pages))
    families = set(re.findall(r"^# HELP (\S+) ", exported, re.MULTILINE))
    assert named
    assert {name for name in named if name not in families} == set()


def test_reasons_that_are_named_as_labels_exist() -> None:
    page = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    assert set(re.findall(r'reason="([a-z_]+)"', page)) <= set(Reason)
