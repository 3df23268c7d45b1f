import polars as pl
import pytest
from pydantic import ValidationError

from datatrial.curation.sample import Sample
from datatrial.tables import Table

TABLE = Table.of(pl.DataFrame({"text": [f"text {n}" for n in range(100)], "n": range(100)}), "documents")


def sampled(n: int, seed: int = 0) -> list[int]:
    return Sample(n=n, seed=seed).apply(TABLE).rows["n"].to_list()


def test_a_sample_has_n_different_rows_in_their_order() -> None:
    rows = sampled(20)
    assert len(set(rows)) == 20
    assert rows == sorted(rows)


def test_the_seed_alone_decides_which_rows() -> None:
    assert sampled(20, seed=1) == sampled(20, seed=1)
    assert sampled(20, seed=1) != sampled(20, seed=2)


def test_every_row_has_the_same_chance() -> None:
    drawn = [row for seed in range(200) for row in sampled(10, seed)]
    counts = [drawn.count(row) for row in range(100)]  # 20 expected of each, standard deviation 4.2
    assert min(counts) > 20 - 4.5 * 4.2
    assert max(counts) < 20 + 4.5 * 4.2


def test_what_is_not_drawn_is_counted() -> None:
    card = Sample(n=20).apply(TABLE).card
    assert card.rows == 20
    assert [(drop.reason, drop.rows) for drop in card.drops] == [("not in the random sample of 20", 80)]


def test_fewer_rows_than_asked_for_are_all_kept() -> None:
    assert Sample(n=1000).apply(TABLE) is TABLE


def test_a_sample_of_no_rows_is_no_rows() -> None:
    empty = TABLE.keep(pl.lit(False), "all")
    assert Sample(n=3).apply(empty).rows.is_empty()


def test_a_sample_of_zero_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        Sample(n=0)
