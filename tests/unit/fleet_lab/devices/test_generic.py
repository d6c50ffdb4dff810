from __future__ import annotations

import json
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.devices.generators import Stream
from fleet_lab.devices.generic import (
    GenericDevice,
    Template,
    generic_device,
    read_template,
    template_of,
)
from fleet_lab.errors import LabError


def values(template: object, count: int, seed: int = 1) -> list[Any]:
    return list(islice(Template(template).values(Stream(seed)), count))


def sent_by(device: Device, count: int) -> list[Any]:
    sent: list[bytes] = []
    device.attach(lambda _, payload: sent.append(payload))
    for _ in range(count):
        device.report_sample()
    return [json.loads(payload) for payload in sent]


def test_what_is_no_generator_stays_as_it_is() -> None:
    plain = {"a": [1, 2.5, None, True, {"b": "č"}], "c": {}}
    assert values(plain, 2) == [plain, plain]


def test_generators_stand_anywhere_and_give_new_values() -> None:
    template = {"a": [{"$counter": {}}, {"deep": {"$counter": {"start": 5, "step": 2}}}]}
    assert values(template, 2) == [{"a": [0, {"deep": 5}]}, {"a": [1, {"deep": 7}]}]


def test_a_walk_stays_within_its_limits_and_its_step() -> None:
    walk = values({"$walk": {"start": 20, "step": 0.5, "min": 19, "max": 21}}, 300)
    assert walk[0] == 20
    assert min(walk) >= 19
    assert max(walk) <= 21
    assert all(abs(b - a) <= 0.501 for a, b in pairwise(walk))
    assert len(set(walk)) > 50


def test_a_sine_has_its_period_and_amplitude() -> None:
    wave = values({"$sine": {"mean": 10, "amplitude": 2, "period": 4}}, 8)
    assert wave == [10, 12, 10, 8, 10, 12, 10, 8]


def test_choice_uniform_gauss_and_a_counter_that_wraps() -> None:
    assert set(values({"$choice": ["a", "c"]}, 40)) == {"a", "c"}
    assert set(values({"$choice": {"of": ["a", "b"], "weights": [0, 1]}}, 40)) == {"b"}
    assert all(2 <= value <= 3 for value in values({"$uniform": {"min": 2, "max": 3}}, 40))
    assert values({"$gauss": {"mean": 5, "deviation": 0}}, 1) == [5]
    assert values({"$counter": {"start": 1, "wrap": 3}}, 5) == [1, 2, 1, 2, 1]


def test_each_place_draws_from_its_own_stream() -> None:
    walk = {"$walk": {}}
    alone = [value["a"] for value in values({"a": walk}, 9)]
    beside = [value["a"] for value in values({"z": walk, "a": walk}, 9)]
    assert alone == beside
    assert alone != [value["z"] for value in values({"z": walk, "a": walk}, 9)]


def test_recorded_values_are_replayed(tmp_path: Path) -> None:
    (tmp_path / "trip.csv").write_text("time,speed,gear\n0,1.5,D\n1,2,\n2,true,N\n")
    (tmp_path / "trip.jsonl").write_text('{"speed": [1]}\n\n{"speed": null}\n')
    (tmp_path / "t.json").write_text(
        json.dumps(
            {
                "v": {"$replay": "trip.csv", "column": "speed"},
                "g": {"$replay": "trip.csv", "column": "gear", "offset": 1},
                "j": {"$replay": "trip.jsonl", "column": "speed"},
            }
        )
    )
    template = read_template(tmp_path / "t.json")
    assert list(islice(template.values(Stream(1)), 4)) == [
        {"v": 1.5, "g": "", "j": [1]},
        {"v": 2, "g": "N", "j": None},
        {"v": True, "g": "D", "j": [1]},
        {"v": 1.5, "g": "", "j": None},
    ]


def test_a_replay_may_begin_anywhere(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("v\n" + "\n".join(map(str, range(100))))
    template = Template({"$replay": "t.csv", "column": "v", "offset": "random"}, folder=tmp_path)
    firsts = {next(template.values(Stream(seed))) for seed in range(20)}
    assert len(firsts) > 10


def test_devices_of_a_class_share_the_template_and_nothing_else() -> None:
    make = generic_device(Template({"v": {"$walk": {}}, "k": {"$counter": {}}}))
    one, other = make("a", Stream(1, "a")), make("b", Stream(1, "b"))
    first, second = sent_by(one, 5), sent_by(other, 5)
    assert [status["k"] for status in first] == [status["k"] for status in second] == [*range(5)]
    assert [status["v"] for status in first] != [status["v"] for status in second]
    assert [(status["id"], status["n"]) for status in first] == [("a", n) for n in range(1, 6)]
    assert one.telemetry()["state"]["last"] == {"v": first[-1]["v"], "k": 4}


def test_a_payload_that_is_no_object_travels_without_a_number() -> None:
    device = GenericDevice("a", None, {"template": [{"$counter": {}}]})
    assert sent_by(device, 2) == [[0], [1]]


def test_a_template_comes_from_an_option(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"k": 1}')
    for given in (str(tmp_path / "t.json"), {"k": 1}, Template({"k": 1})):
        assert next(template_of(given).values(Stream(1))) == {"k": 1}
    with pytest.raises(LabError, match=r"^device a: option 'template' is missing$"):
        GenericDevice("a")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ({"a": {"$wlak": {}}}, (r"\$\.a\.\$wlak: unknown generator; expected one of .*; "
                               r"did you mean '\$walk'\?")),
        ({"a": [{"$walk": {"setp": 1}}]}, (r"\$\.a\[0\]\.\$walk\.setp: unknown key; expected one "
                                          r"of start, step, .*; did you mean 'step'\?")),
        ({"$walk": {"step": "1"}}, r'\$\.\$walk\.step: is "1"; expected a number'),
        ({"$walk": {"step": True}}, r"\$\.\$walk\.step: is true; expected a number"),
        ({"$walk": 5}, r"\$\.\$walk: is 5; expected an object with start, step"),
        ({"$walk": {"start": 5, "max": 1}}, r"\$\.\$walk\.start: is 5; expected a number from"),
        ({"$uniform": {"min": 5}}, r"\$\.\$uniform: min is greater than max"),
        ({"$walk": {"digits": 99}}, r"\$\.\$walk\.digits: expected a whole number from 0 to 12"),
        ({"$walk": {}, "b": 1}, r"\$: \$walk stands alone in its object; move 'b' out"),
        ({"$sine": {"period": 0}}, r"\$\.\$sine\.period: expected a number of statuses above 0"),
        ({"$choice": []}, r"\$\.\$choice: is \[\]; expected a list"),
        ({"$choice": {"off": [1]}}, r"\$\.\$choice\.off: unknown key; .*did you mean 'of'"),
        ({"$choice": {"of": [1], "weights": [1, 2]}}, r"\.weights: expected 1 numbers"),
        ({"$choice": {"of": [1], "weights": [0]}}, r"\.weights: expected 1 numbers"),
        ({"$counter": {"start": 1.5}}, r"\$\.\$counter\.start: is 1.5; expected a whole number"),
        ({"$counter": {"start": 5, "wrap": 5}}, r"\$\.\$counter\.wrap: expected a number above"),
        ({"$replay": "no.csv", "column": "a"}, r"\$\.\$replay: cannot read no.csv: No such file"),
        ({"$replay": "no.csv"}, r"\$\.column: is missing; expected text"),
        ({"$replay": "a", "column": "a", "colum": 1}, r"\$\.colum: .*did you mean 'column'"),
        ({"$replay": "a", "column": "a", "offset": -1}, r"\$\.offset: is -1; expected a row"),
        ({"a": float("nan")}, r"\$\.a: nan is no JSON number"),
        ({"a": {1, 2}}, r"\$\.a: set is no JSON"),
    ],
)  # fmt: skip
def test_a_bad_template_is_one_line_that_names_the_place(template: object, text: str) -> None:
    with pytest.raises(LabError, match=rf"^template: .*{text}") as caught:
        Template(template)
    assert caught.value.exit_code == 78
    assert "\n" not in str(caught.value)


def test_a_template_nested_without_end_is_refused() -> None:
    nested: object = 1
    for _ in range(60):
        nested = [nested]
    with pytest.raises(LabError, match="nested more than 50 deep"):
        Template(nested)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("x.csv", b"a,b\n", "has 0 rows; expected 1 to"),
        ("x.csv", b"a,b\n1,2\n", "has no column 'v'; it has a, b"),
        ("x.csv", b"\xff\xfe\x00", "is no CSV file"),
        ("x.jsonl", b'{"v": \n', "is no CSV file or file of JSON lines"),
        ("x.jsonl", b"[1]\n", "has no column 'v'"),
    ],
)
def test_a_bad_recording_is_one_line(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LabError, match=rf"\$\.\$replay: .*{text}"):
        Template({"$replay": name, "column": "v"}, folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "text"), [(None, "No such file"), (b"{", "is no JSON"), (b"\xff", "is no JSON")]
)
def test_a_template_file_that_is_none_is_one_line(
    tmp_path: Path, content: bytes | None, text: str
) -> None:
    file = tmp_path / "t.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LabError, match=rf"^template .*t.json.*{text}"):
        read_template(file)
