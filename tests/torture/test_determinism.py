"""The same layout of work gives the same bits, whatever runs beside it and in whatever order; another one nearly so."""

from pathlib import Path

import polars as pl
import pytest

from tests.torture.conftest import Figure, Patch
from tests.torture.runs import Run, contents

pytestmark = [pytest.mark.torture, pytest.mark.timeout(900)]
# Of a sentence's perplexity, after some 150 and then some 75 optimizer steps through which rounding adds up.
TOLERANCE = 1e-5


def test_how_many_steps_run_at_once_and_in_what_order_changes_no_bit(
    study: Path, tmp_path: Path, undisturbed: Path, patched: Patch, figure: Figure
) -> None:
    assert Run(study, tmp_path / "one", jobs=1).wait() == 0
    patched("last_comes_first")
    assert Run(study, tmp_path / "four", jobs=4).wait() == 0
    expected = contents(undisturbed)
    assert contents(tmp_path / "one") == expected
    assert contents(tmp_path / "four") == expected
    figure("files of results, and pages, that are the same with 1, 2 and 4 workers and in another order", len(expected))


def test_another_layout_of_work_changes_results_by_rounding_only(
    study: Path, tmp_path: Path, undisturbed: Path, patched: Patch, figure: Figure
) -> None:
    """Such as on another machine, or after memory ran out: an eighth as many tokens go through the model at a time."""
    patched("an_eighth_at_a_time")
    assert Run(study, tmp_path / "store").wait() == 0
    whole, parts = perplexities(undisturbed), perplexities(tmp_path / "store")
    assert whole.keys() == parts.keys()
    apart = {key: ((whole[key] - parts[key]).abs() / whole[key]).max() for key in whole}
    assert max(apart.values()) > 0, "the layout was the same"
    assert max(apart.values()) <= TOLERANCE
    figure("largest relative difference of a sentence's perplexity in another layout", f"{max(apart.values()):.1e}")


def perplexities(store: Path) -> dict[str, pl.Series]:
    """Of every sentence, for each policy that was scored."""
    found = store.glob("group_safety/[!.]*/scores.parquet")
    return {path.parent.name: pl.read_parquet(path).sort("item")["value"] for path in found}
