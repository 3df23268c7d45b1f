"""Studies with anything in them, and what must hold of each."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from datatrial.errors import StudyError, named
from datatrial.planner import plan
from datatrial.study import Study
from datatrial.yaml_file import YamlFile

STUDIES = Path(__file__).parents[1] / "studies"
ODD = ["", "~nobody/x", "x" * 5000, "..", "/dev/zero.jsonl", "²", "9" * 5000, "arms.0", "sft", "lima"]
ODD += ["a/b", "{x}", "%s", "[red]", "1e400", "\x85", "\u2028", "name\n", "-", "model"]
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(ODD))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS, lambda v: st.one_of(st.lists(v, max_size=4), st.dictionaries(TEXTS, v, max_size=4)), max_leaves=8
)
Place = tuple[str | int, ...]


@cache
def values_of(name: str) -> dict[str, Any]:
    return YamlFile.read(STUDIES / name).values


@st.composite
def studies(draw: st.DrawFn, *names: str) -> dict[str, Any]:
    """One of these study files with up to three things in it taken out, put in, or put in the place of others."""
    changed = deepcopy(values_of(draw(st.sampled_from(names))))
    for _ in range(draw(st.integers(1, 3))):
        _change(draw, changed, draw(st.sampled_from([place for place in _places(changed) if place])))
    return changed


def _places(values: Any, at: Place = ()) -> list[Place]:
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [at, *(place for key, value in inner for place in _places(value, (*at, key)))]


def _change(draw: st.DrawFn, values: Any, place: Place) -> None:
    *above, last = place
    for part in above:
        values = values[part]
    match draw(st.sampled_from(["put", "delete", "add"])):
        case "delete" if len(values) > 1:
            del values[last]
        case "add" if isinstance(values, dict):
            values |= draw(st.dictionaries(TEXTS, VALUES, max_size=2))
        case "add":
            values.insert(last, draw(VALUES))
        case _:
            values[last] = draw(VALUES)


def holds_of_study(values: dict[str, Any], folder: Path) -> None:
    """It is a study that can be planned, or every problem is told with its place in one line."""
    try:
        plan(Study.from_yaml(YamlFile(values, {}), STUDIES), folder / "store")
    except StudyError as error:
        assert error.problems
        known = {named(key) for key in {*values, *Study.model_fields}}
        for problem in error.problems:
            assert problem.message
            assert problem.place.startswith("data ") or any(_begins(problem.place, name) for name in known), problem
            assert "\n" not in str(problem), problem


def _begins(place: str, name: str) -> bool:
    return place == name or place.startswith((f"{name}.", f"{name}["))


def holds_of_written(values: dict[str, Any]) -> None:
    """A study that loads is the same study when what it was loaded from is written and read again."""
    try:
        file = YamlFile.parse(YamlFile(values, {}).text())
        study = Study.from_yaml(file, STUDIES)
    except StudyError:
        return
    again = YamlFile.parse(file.text())
    assert repr(again.values) == repr(file.values)  # not by ==: a value may be .nan
    assert repr(Study.from_yaml(again, STUDIES)) == repr(study)
