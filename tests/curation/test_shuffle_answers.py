import pytest

from datatrial.curation.shuffle_answers import ShuffleAnswers
from tests.curation.made import applied, comparison, demonstration, table

ROWS = table("demonstrations", [demonstration(f"Q{n}", f"A{n}", origin=n) for n in range(30)])


def turns(found: object, place: int) -> list[str]:
    return [messages[place]["content"] for messages in found.rows["messages"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(5))
def test_every_answer_goes_to_another_prompt_and_none_is_lost(seed: int) -> None:
    found = applied(ShuffleAnswers(seed=seed), ROWS)
    assert turns(found, 0) == [f"Q{n}" for n in range(30)]
    answers = turns(found, -1)
    assert sorted(answers) == sorted(f"A{n}" for n in range(30))
    assert all(answer != f"A{n}" for n, answer in enumerate(answers))
    assert found.rows["origin"].to_list() == list(range(30))
    assert found.card.notes == ["gave all 30 answers to other prompts"]


def test_the_same_seed_gives_the_same_rows_and_another_others() -> None:
    once, again, other = (applied(ShuffleAnswers(seed=seed), ROWS).rows for seed in (3, 3, 4))
    assert once.equals(again)
    assert not once.equals(other)


def test_of_comparisons_half_of_the_labels_are_drawn_the_wrong_way_round() -> None:
    pairs = table("comparisons", [comparison(f"Q{n}", f"good {n}", f"bad {n}") for n in range(40)])
    found = applied(ShuffleAnswers(), pairs).rows
    assert found["chosen"].str.starts_with("bad").sum() == 20
