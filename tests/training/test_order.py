"""What is trained on, and in what order, when a stage has a budget or packs its examples."""

import math
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from datatrial.encoding import Example
from datatrial.study import stage_fields
from datatrial.training._order import in_order, packed, tokens_of
from datatrial.training.dpo import Dpo
from datatrial.training.sft import Sft


def examples(n: int, longest: int, seed: int = 0) -> list[Example]:
    """Each of its own length, and of tokens of its own."""
    rng = Random(seed)
    return [Example([k] * rng.randint(1, longest), ([1000 + k] * rng.randint(1, longest),)) for k in range(n)]


def sft(**settings: Any) -> Sft:
    return Sft.model_validate({"batch_size": 4, **settings})


@pytest.mark.parametrize(
    ("budget", "seen"), [({"steps": 13}, 52), ({"examples": 13}, 13), ({"examples": 7}, 7), ({"steps": 1}, 4)]
)
def test_steps_are_whole_batches_and_examples_are_exact(budget: dict[str, int], seen: int) -> None:
    order = in_order(examples(10, 20), sft(budget=budget))
    assert (len(order.places), order.passes, order.rows) == (seen, seen / 10, None)


def test_every_pass_has_each_example_once_in_an_order_of_its_own_and_of_the_seeds() -> None:
    data = examples(10, 20)
    order = in_order(data, sft(budget={"examples": 30})).places
    passes = [order[start : start + 10] for start in (0, 10, 20)]
    assert [sorted(one) for one in passes] == [list(range(10))] * 3
    assert len({tuple(one) for one in passes}) == 3
    assert in_order(data, sft(budget={"examples": 30})).places == order
    assert in_order(data, sft(budget={"examples": 30}, seed=1)).places != order


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("tokens", [1, 1000, 5555])
def test_data_of_other_lengths_get_the_same_tokens_to_within_a_batch(tokens: int, packing: bool) -> None:
    for data in (examples(50, 10), examples(7, 60), examples(200, 3)):
        row = 32 if packing else None
        order = in_order(data, sft(budget={"tokens": tokens}), row)
        if packing:
            batches = [sum(len(ids) for ids, _ in packed(data, order, 32))]
            batch = 4 * 32
        else:
            rows = [data[place] for place in order.places]
            batches = [sum(map(tokens_of, rows[start : start + 4])) for start in range(0, len(rows), 4)]
            batch = batches[-1]
            assert len(rows) % 4 == 0
        assert tokens <= sum(batches) < tokens + batch


def test_a_comparisons_prompt_counts_with_each_of_its_answers() -> None:
    assert tokens_of(Example([1, 2, 3], ([4], [5, 6]))) == 3 + 1 + 3 + 2


def test_packed_rows_are_the_examples_end_to_end() -> None:
    data = examples(10, 20)
    order = in_order(data, sft(epochs=2, packing=True), row=16)
    rows = list(packed(data, order, 16))
    stream = [token for e in (data[place] for place in order.places) for token in (*e.prompt, *e.answers[0])]
    assert [token for ids, _ in rows for token in ids] == stream
    assert {len(ids) for ids, _ in rows[:-1]} == {16}
    assert all(
        learned == (token >= 1000) for ids, of_answer in rows for token, learned in zip(ids, of_answer, strict=True)
    )
    assert (len(order.places), order.passes) == (20, 2.0)
    assert order.rows == len(rows) == math.ceil(len(stream) / 16)


def test_packed_steps_are_of_whole_rows() -> None:
    data = examples(10, 20)
    order = in_order(data, sft(budget={"steps": 9}, packing=True), row=16)
    rows = list(packed(data, order, 16))
    assert [len(ids) for ids, _ in rows] == [16] * 36 == [16] * (order.rows or 0)
    assert order.passes == pytest.approx(36 * 16 / sum(map(tokens_of, data)))
    assert len(order.places) / 10 == pytest.approx(order.passes, abs=0.1)


@pytest.mark.parametrize("budget", [{}, {"steps": 1, "tokens": 2}, {"steps": 0}, {"hours": 1}])
def test_a_budget_is_one_count(budget: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=r"one of steps, examples, tokens|greater than 0|unknown key"):
        sft(budget=budget)


def test_epochs_and_a_budget_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="either epochs or a budget"):
        sft(epochs=1, budget={"steps": 5})


def test_what_an_arm_says_of_length_replaces_what_the_study_says() -> None:
    assert stage_fields({"epochs": 2}, {"budget": {"steps": 5}}) == {"budget": {"steps": 5}}
    assert stage_fields({"budget": {"steps": 5}}, {"batch_size": 2}, {"epochs": 1}) == {"epochs": 1, "batch_size": 2}
    assert stage_fields({"budget": {"steps": 5}}, {"budget": {"tokens": 6}}) == {"budget": {"tokens": 6}}


def test_settings_that_came_later_leave_the_identity_of_earlier_results() -> None:
    later = {"budget", "packing", "loss", "max_prompt_length"}
    assert not later & Sft().identity().keys() | later & Dpo().identity().keys()
    told = sft(budget={"tokens": 5}, packing=True, loss="all_tokens").identity()
    assert (told["budget"], told["packing"], told["loss"]) == ({"tokens": 5}, True, "all_tokens")
    assert Dpo(max_prompt_length=5).identity()["max_prompt_length"] == 5


def test_a_prompt_as_long_as_the_whole_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_prompt_length should be below max_length"):
        Dpo(max_prompt_length=1024)
