from __future__ import annotations

from fleet_lab.errors import LabError, missing_extra, nearest


def test_an_error_is_its_text_and_its_exit_code() -> None:
    assert (str(LabError("no gateway")), LabError("no gateway").exit_code) == ("no gateway", 1)
    assert LabError("no such key", 78).exit_code == 78


def test_the_nearest_spelling_is_offered_when_there_is_one() -> None:
    assert nearest("setp", ["step", "start"]) == "; did you mean 'step'?"
    assert nearest("zzz", ["step", "start"]) == ""


def test_a_missing_library_names_the_extra() -> None:
    assert str(missing_extra("simplefix", "lab", "the sink fix")) == (
        "the sink fix needs simplefix, which is not installed; "
        "type: pip install 'module-gateway[lab]'"
    )
