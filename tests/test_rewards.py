"""Rewards of conversations are those of transformers' own classes, however many are scored at a time."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from datatrial import rewards
from datatrial.errors import DataError, ModelError
from datatrial.likelihood import scorer
from datatrial.likelihood.budget import Budget
from datatrial.policies import load_base, load_tokenizer
from datatrial.records import Message, ModelRef
from datatrial.rewards import RewardModel, reward_scores, with_score_head
from datatrial.tables import Table
from datatrial.training._examples import prepare
from tests import tiny

pytestmark = pytest.mark.slow


def silent(done: float, total: float, what: str) -> None:
    pass


def asked(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def conversations() -> list[list[Message]]:
    """Of one turn and several, with a system message, with answers short, empty and longer than is read."""
    answers = ["red", "grey", "", "red blue", "green plums. " * 20]
    asks = [asked(f"What colour is oquat number {n}?", answer) for n, answer in enumerate(answers)]
    system: Message = {"role": "system", "content": "A tarrik."}
    return [*asks, [system, *asks[0]], [*asked("Is it?", "no"), *asked("So?", "blue")]]


def alone(result: Path, turns: list[Message]) -> float:
    """The reward of one conversation by a model that transformers and PEFT load, on text put together by hand."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    weights = ModelRef.read(result).weights
    tokenizer = AutoTokenizer.from_pretrained(weights)
    bare = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=1, pad_token_id=0)
    model = PeftModel.from_pretrained(bare, str(result / "adapter")).eval()
    mark = {"user": "Question: ", "assistant": "Answer: ", "system": ""}
    text = "\n\n".join(mark[turn["role"]] + turn["content"] for turn in turns)
    ids = tokenizer(f"{text}</s>", return_tensors="pt").input_ids[:, :80]
    with torch.no_grad():
        return float(model(input_ids=ids).logits[0, 0])


def test_it_ranks_answers_it_has_not_seen(reward_model: Path) -> None:
    questions = [f"What colour is vesp number {n}?" for n in range(200, 206)]
    found = reward_scores(reward_model, [asked(q, a) for q in questions for a in ("blue", "grey")], "cpu", silent)
    assert all(better > worse for better, worse in zip(found[::2], found[1::2], strict=True))


def test_rewards_are_those_of_transformers_one_at_a_time(reward_model: Path) -> None:
    turns = conversations()
    found = reward_scores(reward_model, turns, "cpu", silent)
    assert found == pytest.approx([alone(reward_model, one) for one in turns], abs=1e-5)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("tokens", [1, 100, 10_000])
def test_they_do_not_depend_on_what_else_is_scored(
    reward_model: Path, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    turns = conversations()
    one_by_one = [RewardModel.load(reward_model, "cpu").rewards([one], silent)[0] for one in turns]
    monkeypatch.setattr(scorer, "budget_for", lambda model: Budget(row=tokens, tokens=tokens, logits=9, keep=8))
    model = RewardModel.load(reward_model, "cpu")
    assert model.rewards(turns, silent) == pytest.approx(one_by_one, abs=1e-5)
    assert model.rewards(turns[::-1], silent) == pytest.approx(one_by_one[::-1], abs=1e-5)


def test_the_accuracy_of_training_is_that_of_the_rewards(reward_model: Path, reward_pairs: Path) -> None:
    tokenizer = load_tokenizer(Path(ModelRef.read(reward_model).weights))
    table = Table.read(reward_pairs)
    held_out = {tuple(e.prompt) for e in prepare(table, tokenizer, tiny.REWARD, answers=2).held_out}
    rows = [
        row
        for row in table.rows.to_dicts()
        if tuple(tokenizer(f"Question: {row['messages'][0]['content']}\n\nAnswer:")["input_ids"]) in held_out
    ]
    turns = [asked(row["messages"][0]["content"], row[key]) for row in rows for key in ("chosen", "rejected")]
    found = reward_scores(reward_model, turns, "cpu", silent)
    assert tiny.summary(reward_model)["held_out_accuracy"] == sum(
        a > b for a, b in zip(found[::2], found[1::2], strict=True)
    ) / len(rows)
    assert tiny.summary(reward_model)["reward_mean"] == pytest.approx(sum(found) / len(found), abs=1e-6)


def test_a_text_that_ends_with_the_padding_token_is_read_alike_alone_and_among_others(
    reward_model: Path, tmp_path: Path
) -> None:
    # As with Llama 2, whose tokenizer has no padding token: the end-of-text token is both.
    weights = tmp_path / "hub" / "base" / "weights"
    shutil.copytree(ModelRef.read(reward_model).weights, weights)
    config = json.loads((weights / "tokenizer_config.json").read_text())
    (weights / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": None}))
    tokenizer = load_tokenizer(weights)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    shell = with_score_head(load_base(ModelRef(str(weights)), "cpu"), tokenizer)
    model = RewardModel(shell, tokenizer, rewards.Reading("question_answer", 80))
    turns = conversations()
    one_by_one = [model.rewards([one], silent)[0] for one in turns]
    assert model.rewards(turns, silent) == pytest.approx(one_by_one, abs=1e-5)


def test_equal_answers_get_the_very_same_reward(reward_model: Path) -> None:
    turns = [*conversations(), *conversations()]
    found = reward_scores(reward_model, turns, "cpu", silent)
    assert found[: len(found) // 2] == found[len(found) // 2 :]


def test_an_answer_without_room_has_no_reward(reward_model: Path) -> None:
    found = reward_scores(reward_model, [asked("Why? " * 60, "red"), asked("Why?", "red")], "cpu", silent)
    assert [math.isnan(reward) for reward in found] == [True, False]


def test_a_long_prompt_loses_its_start_where_it_did_in_training(reward_model: Path, tmp_path: Path) -> None:
    model = RewardModel.load(reward_model, "cpu")
    short = RewardModel(model.model, model.tokenizer, rewards.Reading("question_answer", 80, max_prompt_length=20))
    [whole] = short.rewards([asked("Why? " * 60, "red")], silent)
    ids = model.tokenizer("Question: " + ("Why? " * 60).strip() + "\n\nAnswer: red</s>")["input_ids"]
    answer = model.tokenizer(" red</s>", add_special_tokens=False)["input_ids"]
    kept = [ids[0], *ids[len(ids) - len(answer) - 19 :]]
    assert short.of_tokens([kept], silent) == pytest.approx([whole], abs=1e-6)


def test_progress_counts_tokens_and_a_prompt_once_for_all_its_answers(reward_model: Path) -> None:
    told: list[tuple[float, float, str]] = []

    def tokens(turns: list[list[Message]]) -> float:
        reward_scores(reward_model, turns, "cpu", lambda *what: told.append(what))
        assert told[-1] == (told[-1][1], told[-1][1], "tokens")
        return told[-1][1]

    question = "What colour is oquat number 3, of which few know?"
    one, other = (asked(question, answer) for answer in ("red", "grey"))
    assert tokens([one, other]) < 1.5 * tokens([one])
    assert tokens([one, one]) == tokens([one])


def test_bfloat16_does_not_take_close_answers_for_equal_ones(base: Path, tmp_path: Path) -> None:
    import torch

    half = tiny.loaded_as(base, tmp_path, dtype="bfloat16")
    tokenizer = load_tokenizer(Path(ModelRef.read(half).weights))
    model = with_score_head(load_base(ModelRef.read(half), "cpu"), tokenizer)
    with torch.inference_mode():
        assert model(torch.tensor([[5, 6, 7]])).logits.dtype == torch.float32


def test_what_is_no_reward_model_or_no_answer_is_one_clear_error(reward_model: Path, base: Path) -> None:
    with pytest.raises(ModelError, match=r"is no reward model: it has no reward\.json"):
        reward_scores(base, conversations(), "cpu", silent)
    with pytest.raises(DataError, match="conversation 2 does not end with an answer"):
        reward_scores(reward_model, [asked("Why?", "red"), asked("Why?", "red")[:1]], "cpu", silent)


def test_a_broken_reward_model_is_said_to_be_one(reward_model: Path) -> None:
    model = RewardModel.load(reward_model, "cpu")
    model.model.get_base_model().score.original_module.weight.data.fill_(math.nan)
    for module in model.model.get_base_model().score.modules_to_save.values():
        module.weight.data.fill_(math.nan)
    with pytest.raises(ModelError, match="gives a reward that is no number"):
        model.rewards(conversations(), silent)


def test_a_model_without_a_score_head_is_refused(reward_model: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=32, hidden_size=8, num_hidden_layers=1, state_size=2)
    tokenizer: Any = load_tokenizer(Path(ModelRef.read(reward_model).weights))
    with pytest.raises(ModelError, match="MambaForCausalLM cannot be a reward model"):
        with_score_head(MambaForCausalLM(config), tokenizer)
