import polars as pl
import pytest
from pydantic import ValidationError

from datatrial.curation.cap_per_group import CapPerGroup
from datatrial.errors import DataError
from tests.curation.made import applied, documents, drops

POSTS = documents(
    post=["a", "b", "a", "a", "b", None, None, "a"],
    ratio=[1.0, 2.0, 3.0, None, 2.0, 1.0, 1.0, 3.0],
    n=range(8),
)


def kept(**settings: object) -> list[int]:
    return applied(CapPerGroup.model_validate({"field": "post", **settings}), POSTS).rows["n"].to_list()


def test_the_first_rows_of_each_group_can_be_kept() -> None:
    assert kept(n=1, keep="first") == [0, 1, 5, 6]
    assert kept(n=2, keep="first") == [0, 1, 2, 4, 5, 6]


def test_the_rows_with_the_highest_values_can_be_kept() -> None:
    assert kept(n=1, by="ratio") == [1, 2, 5, 6]  # of equal values the earlier row
    assert kept(n=3, by="ratio") == [0, 1, 2, 4, 5, 6, 7]  # a row without a value comes last


def test_nan_is_the_lowest_value() -> None:
    table = documents(post=["a", "a"], ratio=[float("nan"), -1.0], n=[0, 1])
    assert applied(CapPerGroup(field="post", n=1, by="ratio"), table).rows["n"].to_list() == [1]


def test_by_default_chance_decides_by_seed() -> None:
    assert kept(n=2, seed=3) == kept(n=2, seed=3, keep="random")
    drawn = [kept(n=1, seed=seed) for seed in range(400)]
    first_of_a = [row for rows in drawn for row in rows if row in (0, 2, 3, 7)]
    assert len(first_of_a) == 400
    counts = [first_of_a.count(row) for row in (0, 2, 3, 7)]  # 100 expected of each, standard deviation 8.7
    assert min(counts) > 100 - 4.5 * 8.7


def test_what_is_over_the_cap_is_counted() -> None:
    assert drops(applied(CapPerGroup(field="post", n=1, keep="first"), POSTS)) == {
        "over 1 rows of one post (kept: the first)": 4
    }
    assert drops(applied(CapPerGroup(field="post", n=3, by="ratio"), POSTS)) == {
        "over 3 rows of one post (kept: those with the highest ratio)": 1
    }


def test_rows_without_a_group_are_kept_and_counted() -> None:
    found = applied(CapPerGroup(field="post", n=1), POSTS)
    assert found.rows["post"].null_count() == 2
    assert found.card.notes == ["kept 2 rows without post, which belong to no group"]


def test_the_cap_agrees_with_a_slow_loop() -> None:
    posts = [n * n % 7 for n in range(200)]
    expected = [n for n, post in enumerate(posts) if posts[:n].count(post) < 4]
    table = documents(post=posts, n=range(200))
    assert applied(CapPerGroup(field="post", n=4, keep="first"), table).rows["n"].to_list() == expected


def test_two_rules_are_refused() -> None:
    with pytest.raises(ValidationError, match="leave out `keep`"):
        CapPerGroup(field="post", n=1, keep="first", by="ratio")


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"field: there is no column 'pots'.*did you mean 'post'\?"):
        applied(CapPerGroup(field="pots", n=1), POSTS)
    with pytest.raises(DataError, match="by: the column 'post' holds String; numbers are needed"):
        applied(CapPerGroup(field="n", n=1, by="post"), POSTS)
    nested = POSTS.replaced(POSTS.rows.with_columns(tags=pl.lit(["x"])))
    with pytest.raises(DataError, match=r"'tags' holds a List; name one that holds single values"):
        applied(CapPerGroup(field="tags", n=1), nested)
