"""Property-based tests of the study's schema."""

from pathlib import Path
from typing import Any

from hypothesis import example, given, settings

from tests.drawn_studies import holds_of_study, holds_of_written, studies, values_of
from tests.sources.drawn import ordinary


@settings(ordinary, max_examples=12)
@given(studies("quickstart.yaml", "real_sample.yaml"))
def test_whatever_stands_in_a_study_it_is_planned_or_every_problem_is_told(
    tmp_path_factory: Any, values: dict[str, Any]
) -> None:
    holds_of_study(values, Path(tmp_path_factory.getbasetemp()))


@settings(ordinary, max_examples=6)
@example(values_of("quickstart.yaml"))
@given(studies("quickstart.yaml"))
def test_a_study_that_loads_is_the_same_when_it_is_written_and_read_again(values: dict[str, Any]) -> None:
    holds_of_written(values)
