from __future__ import annotations

from pathlib import Path

import pytest

from fleet_lab.errors import LabError
from fleet_lab.files import Tap, load_experiment, read_values
from fleet_lab.ledger.checks import Check
from fleet_lab.links.conditions import CLEAR, LINKS
from fleet_lab.steps import Act, SetLink, Step

ROOT = Path(__file__).parents[3]
FLEET = '[[fleet]]\nname = "cars"\ndevice = "mission"\nsize = 2\n'


def _write(folder: Path, text: str, name: str = "x.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _errors(path: Path) -> str:
    with pytest.raises(LabError) as caught:
        load_experiment(path)
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_the_example_is_valid() -> None:
    experiment = load_experiment(ROOT / "examples" / "lab" / "demo.toml")

    assert [fleet.name for fleet in experiment.fleets] == ["cars", "buttons"]
    assert experiment.links["cars"] == LINKS["LTE"]
    assert (experiment.seed, experiment.duration_s) == (7, 60.0)
    assert len(experiment.scenario.steps) == 4
    assert experiment.taps == (Tap("127.0.0.1", 18883, "default_company", "default_vehicle"),)


def test_a_whole_experiment_is_read(tmp_path: Path) -> None:
    text = (
        'title = "T"\nseed = 7\nduration = "1m"\nworkers = 2\non = "ray"\n'
        'checks = ["lost == 0", "within 15s after outage"]\n' + FLEET + 'link = "LTE"\n'
        '[[step]]\nat = "10s"\ndo = "link"\nfleet = "cars"\nlink = "OFFLINE"\nfor = "5s"\n'
        '[[step]]\nat = "20s"\ndo = "kill"\nprocess = "gateway.external_client"\n'
        '[[process]]\nname = "gateway"\nstate-dir = "state"\n'
        '[[tap]]\nmqtt = "127.0.0.1:18883"\n'
    )
    experiment = load_experiment(_write(tmp_path, text))

    assert experiment.title == "T"
    assert (experiment.workers, experiment.on, experiment.duration_s) == (2, "ray", 60.0)
    assert experiment.checks == (Check("lost == 0"), Check("within 15s after outage"))
    assert experiment.scenario.steps == (
        Step(SetLink("cars", LINKS["OFFLINE"]), 10.0, None, 5.0),
        Step(Act("gateway.external_client", "kill"), 20.0),
    )
    assert experiment.scenario.end_s == 20.0
    assert "gateway.external_client" in experiment.processes
    assert experiment.declared["title"] == "T"


def test_yaml_holds_the_same_keys(tmp_path: Path) -> None:
    toml = load_experiment(_write(tmp_path, f'seed = 7\nchecks = ["lost == 0"]\n{FLEET}'))
    text = "seed: 7\nchecks: [lost == 0]\nfleet:\n- {name: cars, device: mission, size: 2}\n"
    yaml = load_experiment(_write(tmp_path, text, "x.yaml"))

    assert (yaml.fleets, yaml.checks, yaml.seed) == (toml.fleets, toml.checks, toml.seed)


def test_without_a_title_and_a_seed_there_is_one(tmp_path: Path) -> None:
    path = _write(tmp_path, FLEET, "tunnel.toml")
    first, second = load_experiment(path), load_experiment(path)

    assert first.title == "tunnel"
    assert first.seed != second.seed
    assert first.fleets[0].seed == first.seed
    assert first.links == {"cars": CLEAR}
    assert (first.duration_s, first.checks, first.taps) == (None, (), ())


def test_the_callers_seed_beats_the_files(tmp_path: Path) -> None:
    assert load_experiment(_write(tmp_path, f"seed = 7\n{FLEET}"), seed=9).fleets[0].seed == 9


def test_a_caller_may_know_more_processes(tmp_path: Path) -> None:
    text = FLEET + '[[step]]\nat = "1s"\ndo = "kill"\nprocess = "control_plane"\nfor = "2s"\n'
    path = _write(tmp_path, text)

    assert "unknown process 'control_plane'" in _errors(path)
    assert load_experiment(path, known_processes=["control_plane"]).processes == {}


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = (
        'sede = 7\nduration = 60\nchecks = ["los == 0", 3]\n'
        '[[fleet]]\nname = "cars"\ndevice = "misson"\nsize = 2\nlink = "LTF"\n'
        '[[tap]]\nmqtt = "localhost"\n'
    )
    lines = _errors(_write(tmp_path, text)).splitlines()

    assert lines[0] == f"{tmp_path / 'x.toml'}: 7 errors"
    for found, wanted in zip(
        lines[1:],
        [
            "fleet[0].device: device 'misson' is none of",
            "fleet[0].link: link 'LTF': unknown preset 'LTF'; did you mean 'LTE'?",
            'duration: expected a duration such as "10s", got 60',
            "checks[0]: check 'los == 0'",
            "checks[1]: expected a text, got 3",
            "tap[0].mqtt: expected host:port, got 'localhost'",
            "sede: unknown key; did you mean 'seed'?",
        ],
        strict=True,
    ):
        assert found.strip().startswith(wanted)


def test_one_error_is_one_line(tmp_path: Path) -> None:
    path = _write(tmp_path, f"sede = 7\n{FLEET}")

    assert _errors(path) == f"{path}: sede: unknown key; did you mean 'seed'?"


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ("within 15s after outgae", "no step is named 'outgae'; there are: outage"),
        ("always p99 < 1s except during storm", "no step is named 'storm'; there are: outage"),
    ],
)
def test_a_check_may_only_name_steps_that_there_are(
    tmp_path: Path, check: str, problem: str
) -> None:
    step = '[[step]]\nat = "1s"\ndo = "cut"\nfleet = "cars"\nfor = "1s"\n'

    assert problem in _errors(_write(tmp_path, f'checks = ["{check}"]\n{FLEET}{step}'))


def test_checks_are_a_list(tmp_path: Path) -> None:
    path = _write(tmp_path, f'checks = "lost == 0"\n{FLEET}')

    assert "checks: expected a list of texts" in _errors(path)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("x.toml", "a = ", "no TOML: "),
        ("x.yaml", "a: [", "no YAML: "),
        ("x.yaml", "- 3", "holds [3], no keys and values"),
        ("x.ini", "", "a fleet file ends with .toml, .yaml or .yml"),
        ("x.toml", "", "fleet: is missing; a file needs at least one [[fleet]]"),
    ],
)
def test_no_file_of_ours_is_one_line(tmp_path: Path, name: str, text: str, problem: str) -> None:
    message = _errors(_write(tmp_path, text, name))

    assert problem in message
    assert "\n" not in message


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert "No such file" in _errors(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    assert "no text in UTF-8" in _errors(tmp_path / "bad.toml")


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    path = _write(tmp_path, "a: !!python/object/apply:os.getpid []", "x.yaml")
    with pytest.raises(LabError, match="no YAML"):
        read_values(path)
