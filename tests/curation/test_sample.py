from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from datatrial.curation.sample import Sample
from datatrial.errors import DataError
from datatrial.records import Runtime
from tests.curation.made import applied, documents, drops, on_disk

TABLE = documents(n=range(100))
UNEVEN = documents(domain=["sea"] * 61 + ["land"] * 30 + ["air"] * 9, n=range(100))


def sampled(n: int, seed: int = 0) -> list[int]:
    return applied(Sample(n=n, seed=seed), TABLE).rows["n"].to_list()


def shares(n: int, seed: int = 0) -> dict[str, int]:
    rows = applied(Sample(n=n, seed=seed, by="domain"), UNEVEN).rows
    return dict(rows["domain"].value_counts().rows())


def test_a_sample_has_n_different_rows_in_their_order() -> None:
    rows = sampled(20)
    assert len(set(rows)) == 20
    assert rows == sorted(rows)


def test_the_seed_alone_decides_which_rows() -> None:
    assert sampled(20, seed=1) == sampled(20, seed=1)
    assert sampled(20, seed=1) != sampled(20, seed=2)


def test_the_rows_of_a_seed_are_those_of_former_versions() -> None:
    assert sampled(4) == sorted(np.random.default_rng(0).choice(100, size=4, replace=False))


def test_every_row_has_the_same_chance() -> None:
    drawn = [row for seed in range(200) for row in sampled(10, seed)]
    counts = [drawn.count(row) for row in range(100)]  # 20 expected of each, standard deviation 4.2
    assert min(counts) > 20 - 4.5 * 4.2
    assert max(counts) < 20 + 4.5 * 4.2


def test_what_is_not_drawn_is_counted() -> None:
    found = applied(Sample(n=20), TABLE)
    assert found.height == 20
    assert drops(found) == {"not in the random sample of 20": 80}


def test_fewer_rows_than_asked_for_are_all_kept_and_the_card_says_so() -> None:
    found = applied(Sample(n=1000), TABLE)
    assert found.rows.equals(TABLE.rows)
    assert found.card.notes == ["all 100 rows kept: a sample of 1,000 rows was asked for"]
    assert applied(Sample(n=100), TABLE) is TABLE


def test_a_sample_of_no_rows_is_no_rows() -> None:
    empty = TABLE.keep(pl.lit(False), "all")
    assert applied(Sample(n=3), empty).rows.is_empty()


def test_a_sample_of_zero_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        Sample(n=0)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (10, {"sea": 6, "land": 3, "air": 1}),  # 6.1, 3.0, 0.9
        (50, {"sea": 30, "land": 15, "air": 5}),  # 30.5, 15.0, 4.5: of equal remainders, the first by name
        (99, {"sea": 60, "land": 30, "air": 9}),  # 60.39, 29.7, 8.91
        (1, {"sea": 1}),
    ],
)
def test_a_stratified_sample_has_exactly_n_rows_in_proportion(n: int, expected: dict[str, int]) -> None:
    assert shares(n) == expected


def test_a_stratified_sample_is_drawn_by_seed_in_the_rows_order() -> None:
    drawn = [applied(Sample(n=20, seed=seed, by="domain"), UNEVEN).rows["n"].to_list() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] == sorted(drawn[0])
    assert drawn[0] != drawn[2]


def test_rows_without_a_value_are_a_stratum() -> None:
    table = documents(domain=[None] * 50 + ["sea"] * 50)
    assert applied(Sample(n=10, by="domain"), table).rows["domain"].null_count() == 5


def test_numbers_can_be_strata() -> None:
    table = documents(year=[1999, 2000] * 20)
    assert applied(Sample(n=10, by="year"), table).rows["year"].sum() == 5 * 3999


def test_an_unknown_stratum_is_refused_with_the_columns() -> None:
    with pytest.raises(DataError, match=r"by: there is no column 'domian'.*did you mean 'domain'\?.*domain, n, text"):
        applied(Sample(n=3, by="domian"), UNEVEN)


def test_rows_on_disk_are_sampled_as_those_in_memory(tmp_path: Path) -> None:
    for op in (Sample(n=7), Sample(n=7, by="domain")):
        assert applied(op, on_disk(UNEVEN, tmp_path / str(op.by))).rows.equals(applied(op, UNEVEN).rows)


def test_as_many_rows_as_another_data_set_has(tmp_path: Path) -> None:
    other = on_disk(documents(n=list(range(7))), tmp_path / "other")
    found = Sample(as_many_as="other").apply(documents(n=list(range(20))), {"other": tmp_path / "other"}, Runtime())
    assert found.height == other.height == 7
    assert Sample(as_many_as="other").reads()["other"].name == "other"


@pytest.mark.parametrize("settings", [{}, {"n": 3, "as_many_as": "other"}])
def test_a_sample_has_one_size(settings: dict) -> None:
    with pytest.raises(ValidationError, match="should give `n`, or `as_many_as`"):
        Sample(**settings)
