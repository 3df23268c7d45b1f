"""Reward models learn which answer is better, and their results say how well, against transformers' own classes."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from datatrial.encoding import encode
from datatrial.errors import DataError, ModelError
from datatrial.policies import load_policy, load_tokenizer
from datatrial.records import ModelRef
from datatrial.tables import Table
from datatrial.training._examples import prepare
from datatrial.training.dpo import Dpo
from datatrial.training.reward import Reward
from datatrial.training.sft import Sft
from tests import tiny

pytestmark = pytest.mark.slow
SFT = Sft(learning_rate=5e-3, epochs=1, batch_size=8, max_length=64, held_out=0)
STILL = tiny.REWARD.model_copy(update={"learning_rate": 1e-30, "epochs": 1.0, "held_out": 0.0})

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def sft(base: Path, store: Path) -> Path:
    return tiny.result(SFT, store, "sft", policy=base, data=tiny.demonstrations(store / "demonstrations"))


def weights_of(result: Path) -> Any:
    from safetensors.numpy import load_file

    return load_file(result / "adapter" / "adapter_model.safetensors")


def held_out_rewards(result: Path, base: Path, pairs: Path) -> list[tuple[float, float]]:
    """Rewards of held-out chosen and rejected answers, one at a time, by a model that transformers and PEFT load."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    weights = ModelRef.read(base).weights
    tokenizer = load_tokenizer(Path(weights))
    bare = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=1, pad_token_id=0)
    model = PeftModel.from_pretrained(bare, str(result / "adapter")).eval()
    held_out = {tuple(e.prompt) for e in prepare(Table.read(pairs), tokenizer, tiny.REWARD, answers=2).held_out}

    def reward(prompt: str, answer: str) -> float:
        with torch.no_grad():
            return float(model(**tokenizer(f"{prompt} {answer}</s>", return_tensors="pt")).logits[0, 0])

    rows = pl.read_parquet(pairs / "rows.parquet").to_dicts()
    prompts = [f"Question: {row['messages'][0]['content']}\n\nAnswer:" for row in rows]
    kept = [(p, row) for p, row in zip(prompts, rows, strict=True) if tuple(tokenizer(p)["input_ids"]) in held_out]
    assert len(kept) == 12
    return [(reward(p, row["chosen"]), reward(p, row["rejected"])) for p, row in kept]


def test_it_tells_better_answers_to_questions_it_has_not_seen(reward_model: Path) -> None:
    counts = tiny.summary(reward_model)
    assert (counts["examples"], counts["held_out"], counts["steps"]) == (36, 12, 36)
    assert counts["held_out_accuracy"] > 0.9
    assert counts["loss_first"] == pytest.approx(math.log(2), abs=0.05)
    assert counts["loss_last"] < 0.1
    assert counts["held_out_loss_last"] < counts["held_out_loss_first"]
    assert tiny.curve(reward_model, "eval_accuracy")[-1] == 1
    assert tiny.curve(reward_model, "margin")[-1] > 1


def test_what_it_says_of_held_out_answers_is_what_transformers_makes_of_the_result(
    reward_model: Path, base: Path, reward_pairs: Path
) -> None:
    rewards = held_out_rewards(reward_model, base, reward_pairs)
    counts, values = tiny.summary(reward_model), [value for pair in rewards for value in pair]
    assert counts["held_out_accuracy"] == sum(chosen > rejected for chosen, rejected in rewards) / 12
    losses = [math.log1p(math.exp(rejected - chosen)) for chosen, rejected in rewards]
    assert counts["held_out_loss_last"] == pytest.approx(sum(losses) / 12, abs=1e-5)
    mean = sum(values) / 24
    assert counts["reward_mean"] == pytest.approx(mean, abs=1e-5)
    assert counts["reward_std"] == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / 24), abs=1e-5)


def test_the_result_is_an_adapter_with_a_head_and_how_it_reads(reward_model: Path, base: Path) -> None:
    assert {path.name for path in reward_model.iterdir()} == {*tiny.TRAINED, "reward.json"}
    assert ModelRef.read(reward_model) == ModelRef(ModelRef.read(base).weights, str(reward_model / "adapter"))
    assert weights_of(reward_model)["base_model.model.score.weight"].shape == (1, 32)
    assert json.loads((reward_model / "reward.json").read_text()) == {
        "prompt": "question_answer",
        "max_length": 80,
        "max_prompt_length": None,
    }
    config = json.loads((reward_model / "adapter" / "adapter_config.json").read_text())
    assert (config["task_type"], config["base_model_name_or_path"]) == ("SEQ_CLS", None)


def test_after_sft_it_begins_as_the_sft_adapter_with_a_new_head(sft: Path, reward_pairs: Path, tmp_path: Path) -> None:
    result = tiny.result(STILL, tmp_path, "still", policy=sft, data=reward_pairs)
    before, after = weights_of(sft), weights_of(result)
    assert after.keys() - before.keys() == {"base_model.model.score.weight"}
    assert all((after[name] == before[name]).all() for name in before)
    assert tiny.summary(result)["parameters_trained"] == sum(values.size for values in after.values())


def test_on_a_quantized_base_it_begins_there_as_well_and_learns(
    wide_base: Path, reward_pairs: Path, tmp_path: Path
) -> None:
    quantized = tiny.loaded_as(wide_base, tmp_path, quantization="nf4")
    sft = tiny.result(SFT, tmp_path, "sft", policy=quantized, data=tiny.demonstrations(tmp_path / "demonstrations"))
    still = tiny.result(STILL, tmp_path, "still", policy=sft, data=reward_pairs)
    assert all((weights_of(still)[name] == values).all() for name, values in weights_of(sft).items())
    result = tiny.result(tiny.REWARD, tmp_path, "result", policy=quantized, data=reward_pairs)
    assert ModelRef.read(result).quantization == "nf4"
    assert tiny.summary(result)["held_out_accuracy"] > 0.9


def test_the_same_seed_gives_the_same_bytes_and_another_other_ones(
    base: Path, reward_pairs: Path, tmp_path: Path
) -> None:
    short = tiny.REWARD.model_copy(update={"epochs": 1.0, "held_out": 0.0})
    once, again, other = (
        tiny.result(short.model_copy(update={"seed": seed}), tmp_path, name, policy=base, data=reward_pairs)
        for name, seed in (("once", 1), ("again", 1), ("other", 2))
    )
    assert tiny.adapter_bytes(once) == tiny.adapter_bytes(again) != tiny.adapter_bytes(other)
    config = "adapter/adapter_config.json"
    assert (once / config).read_bytes() == (again / config).read_bytes()


def test_rewards_can_be_kept_around_zero(reward_model: Path, base: Path, reward_pairs: Path, tmp_path: Path) -> None:
    centred = tiny.REWARD.model_copy(update={"trl": {"center_rewards_coefficient": 10.0}})
    result = tiny.result(centred, tmp_path, "centred", policy=base, data=reward_pairs)
    assert abs(tiny.summary(result)["reward_mean"]) < 0.05
    assert json.loads((result / "training.json").read_text())["reward_std"] < tiny.summary(reward_model)["reward_std"]
    with pytest.raises(ValidationError, match="no setting 'centre_rewards' for reward"):
        Reward.model_validate({"trl": {"centre_rewards": 1}})


def test_without_held_out_comparisons_their_numbers_are_not_made_up(
    base: Path, reward_pairs: Path, tmp_path: Path
) -> None:
    counts = tiny.summary(tiny.result(STILL, tmp_path, "still", policy=base, data=reward_pairs))
    assert [counts[name] for name in ("held_out_accuracy", "reward_mean", "reward_std")] == [None, None, None]


def test_prompts_are_cut_from_their_start_and_answers_at_their_end(
    base: Path, reward_pairs: Path, tmp_path: Path
) -> None:
    from datatrial.training import _reward

    tokenizer = load_tokenizer(Path(ModelRef.read(base).weights))
    stage = STILL.model_copy(update={"max_prompt_length": 10, "max_length": 11})
    data = prepare(Table.read(reward_pairs), tokenizer, stage, answers=2)
    [whole] = encode([([tiny.ask(0)], ["red", "grey"])], tokenizer, "question_answer")  # type: ignore[list-item]
    rows = _reward.rows([e for e in data.train if e.prompt[-9:] == whole.prompt[-9:]])
    assert rows is not None
    begin = [tokenizer.bos_token_id, *whole.prompt[-9:]]
    assert rows[0]["chosen_ids"] == [*begin, whole.answers[0][0]]
    assert rows[0]["rejected_ids"] == [*begin, whole.answers[1][0]]
    written = json.loads(
        (tiny.result(stage, tmp_path, "cut", policy=base, data=reward_pairs) / "reward.json").read_text()
    )
    assert (written["max_length"], written["max_prompt_length"]) == (11, 10)


@pytest.mark.parametrize("style", ["question_answer", "chat"])
def test_comparisons_become_the_ids_that_trl_makes(base: Path, reward_pairs: Path, tmp_path: Path, style: str) -> None:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    from datatrial.training._reward import rows

    tokenizer = load_tokenizer(Path(ModelRef.read(base).weights))
    tokenizer.chat_template = TEMPLATE
    data = Table.read(reward_pairs)
    ours = rows(prepare(data, tokenizer, Reward(held_out=0, prompt=style), answers=2).train)  # type: ignore[arg-type]
    told = [
        {
            name: [*row["messages"], {"role": "assistant", "content": row[name]}]
            if style == "chat"
            else f"Question: {row['messages'][0]['content']}\n\nAnswer: {row[name]}"
            for name in ("chosen", "rejected")
        }
        for row in data.rows.to_dicts()
    ]
    args = RewardConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none")
    theirs = RewardTrainer._prepare_dataset(None, Dataset.from_list(told), tokenizer, args, "train")
    assert ours is not None
    for column in ("chosen_ids", "rejected_ids"):
        assert list(ours[column]) == list(theirs[column])


def test_it_leaves_no_trace_in_a_run_after_it(reward_model: Path, sft: Path, base: Path, tmp_path: Path) -> None:
    again = tiny.result(SFT, tmp_path, "again", policy=base, data=tiny.demonstrations(tmp_path / "demonstrations"))
    assert tiny.adapter_bytes(again) == tiny.adapter_bytes(sft)


def test_a_reward_model_is_no_policy(reward_model: Path, reward_pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a reward model's: it scores answers and gives none"):
        load_policy(reward_model, "cpu")
    for stage in (Dpo(max_length=64), SFT):
        with pytest.raises(ModelError, match="a reward model's"):
            tiny.result(stage, tmp_path, "a", policy=reward_model, data=reward_pairs)
    with pytest.raises(ModelError, match="a reward model cannot be trained further"):
        tiny.result(tiny.REWARD, tmp_path, "b", policy=reward_model, data=reward_pairs)


def test_an_adapter_of_another_shape_is_refused(sft: Path, reward_pairs: Path, tmp_path: Path) -> None:
    stage = STILL.model_copy(update={"lora": STILL.lora.model_copy(update={"r": 4})})
    with pytest.raises(ModelError, match=r"has r 8, this stage's lora r 4"):
        tiny.result(stage, tmp_path, "a", policy=sft, data=reward_pairs)


def test_demonstrations_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reward trains on comparisons, not on demonstrations"):
        tiny.result(tiny.REWARD, tmp_path, "a", policy=base, data=tiny.demonstrations(tmp_path / "d"))


def test_the_settings_known_are_the_fields_of_trls_config() -> None:
    import dataclasses

    from trl import RewardConfig

    from datatrial.training._trl_settings import known_settings

    assert known_settings("reward") == sorted(field.name for field in dataclasses.fields(RewardConfig))
