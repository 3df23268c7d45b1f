"""What would be scored without knowing anything."""

import pytest

from datatrial.evaluation._answers import Item, chance, majority, same_answer


def item(right: int, choices: tuple[str, ...]) -> Item:
    sure = [float(place == right) for place in range(len(choices))]
    return Item("t:0", "t", "?", choices, str(right), {"acc": sure})


def test_guessing_scores_one_over_the_number_of_choices() -> None:
    items = [item(0, ("a", "b")), item(1, ("a", "b", "c", "d"))]
    assert chance(items) == {"acc": pytest.approx((1 / 2 + 1 / 4) / 2)}


def test_guessing_between_several_true_answers_scores_their_share() -> None:
    several = Item("t:0", "t", "?", ("a", "b", "c", "d", "e"), "0", {"acc": [1.0, 1.0, 0.0, 0.0, 0.0]})
    assert chance([several]) == {"acc": pytest.approx(0.4)}
    assert several.right("acc") == [0, 1]


def test_the_majority_is_the_commonest_right_position() -> None:
    items = [item(1, ("No", "Yes"))] * 7 + [item(0, ("No", "Yes"))] * 3
    assert majority(items) == {"acc": pytest.approx(0.7)}


def test_an_item_without_that_position_scores_nothing() -> None:
    items = [item(2, ("a", "b", "c")), item(2, ("d", "e", "f")), item(0, ("g", "h"))]
    assert majority(items) == {"acc": pytest.approx(2 / 3)}


def test_there_is_no_majority_where_the_file_puts_the_right_choice_first() -> None:
    assert majority([item(0, ("true", "false")), item(0, ("right", "wrong"))]) == {}


def test_there_is_a_majority_where_all_answers_are_the_same_word() -> None:
    assert majority([item(0, ("No", "Yes"))] * 3) == {"acc": 1.0}


def test_a_constant_answerer_is_seen() -> None:
    assert same_answer([{"chosen": 1}] * 5) == 1.0
    assert same_answer([{"chosen": 0}, {"chosen": 1}, {"chosen": 1}, {"chosen": 2}]) == 0.5


def test_generated_answers_have_no_positions() -> None:
    assert same_answer([{"chosen": None}]) is None
    assert chance([Item("t:0", "t", "?", (), "7", {})]) == {}
