"""Batches in parts: memory that runs out changes nothing but how much goes through at a time."""

from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from trl import DPOTrainer, SFTConfig, SFTTrainer

from datatrial.encoding import Example
from datatrial.errors import ModelError
from datatrial.policies import load_policy
from datatrial.training import _run, _tokenized_sft
from datatrial.training._at_once import AtOnce
from datatrial.training._base import Stage
from datatrial.training._parts import average_metrics, in_parts
from datatrial.training.dpo import Dpo
from datatrial.training.kto import Kto
from datatrial.training.orpo import Orpo
from datatrial.training.reward import Reward
from datatrial.training.sft import Sft
from tests import tiny
from tests.likelihood import zoo

SETTINGS: dict[str, Any] = {"learning_rate": 5e-3, "batch_size": 8, "max_length": 64, "held_out": 0}


def short_of_memory(monkeypatch: pytest.MonkeyPatch, trainer: type, most: int, calls: int = 0) -> list[int]:
    """Have a trainer run out of memory with more than so many tokens, after so many calls that went well."""
    computed, seen = trainer.compute_loss, []

    def compute_loss(self: Any, model: Any, inputs: dict[str, Any], *args: Any, **further: Any) -> Any:
        seen.append(int(inputs["attention_mask"].sum()))
        if len(seen) > calls and seen[-1] > most:
            raise torch.OutOfMemoryError("out of memory")
        return computed(self, model, inputs, *args, **further)

    monkeypatch.setattr(trainer, "compute_loss", compute_loss)
    return seen


def alike(one: Path, other: Path, learning_rate: float) -> bool:
    """Whether adapters are the same up to rounding, which Adam can turn into a step either way."""
    ours, theirs = (load_file(policy / "adapter" / "adapter_model.safetensors") for policy in (one, other))
    return all((ours[name] - theirs[name]).abs().mean() < 0.02 * learning_rate for name in ours)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "trainer"), [(Sft, SFTTrainer), (Dpo, DPOTrainer)])
def test_when_memory_runs_out_the_batch_begins_again_with_half_and_training_is_the_same(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Stage], trainer: type
) -> None:
    stage = kind.model_validate({**SETTINGS, "budget": {"steps": 3}})
    rows = tiny.comparisons(tmp_path / "data")
    whole = tiny.result(stage, tmp_path, "whole", policy=base, data=rows)
    seen = short_of_memory(monkeypatch, trainer, 150, calls=1)  # the second batch is too much
    halved = tiny.result(stage, tmp_path, "halved", policy=base, data=rows)
    assert seen[1] > 150 >= max(seen[-2:])
    counts = tiny.summary(halved)
    assert counts["memory_ran_out"] >= 1
    assert counts["tokens_at_once"] < tiny.summary(whole)["tokens_at_once"]
    assert tiny.curve(halved, "loss") == pytest.approx(tiny.curve(whole, "loss"), abs=1e-5)
    assert alike(whole, halved, 3 * stage.learning_rate)


@pytest.mark.slow
def test_parts_that_went_well_before_memory_ran_out_do_not_count_twice(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Sft.model_validate({**SETTINGS, "budget": {"steps": 2}, "trl": {"max_grad_norm": 0}})
    rows = tiny.demonstrations(tmp_path / "data")
    whole = tiny.result(stage, tmp_path, "whole", policy=base, data=rows)
    monkeypatch.setattr(_run, "fitting_at_once", lambda *_: AtOnce(100, checkpointing=False))
    seen = short_of_memory(monkeypatch, SFTTrainer, 50, calls=1)  # the first part is gone through, the second is not
    halved = tiny.result(stage, tmp_path, "halved", policy=base, data=rows)
    assert seen[0] > 50
    assert alike(whole, halved, 2 * stage.learning_rate)
    assert tiny.curve(halved, "loss") == pytest.approx(tiny.curve(whole, "loss"), abs=1e-5)
    assert tiny.curve(halved, "num_tokens") == tiny.curve(whole, "num_tokens")


@pytest.mark.slow
def test_an_example_that_does_not_fit_by_itself_ends_the_stage_and_says_what_to_lower(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = short_of_memory(monkeypatch, SFTTrainer, 1)
    stage = Sft.model_validate({**SETTINGS, "budget": {"steps": 3}})
    with pytest.raises(ModelError, match=r"one example at a time, of \d+ tokens at most: lower max_length"):
        tiny.result(stage, tmp_path, "a", policy=base, data=tiny.demonstrations(tmp_path / "data"))
    assert len(seen) <= 5


@pytest.mark.slow
def test_other_errors_are_not_taken_for_memory(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(SFTTrainer, "compute_loss", broken)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        tiny.result(Sft(held_out=0), tmp_path, "a", policy=base, data=tiny.demonstrations(tmp_path / "data"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Sft, Dpo, Reward, Kto, Orpo])
def test_curves_are_those_of_whole_batches(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Stage]
) -> None:
    """Of rows that differ in length, so that means over tokens are none over examples."""
    rng = Random(0)
    said = [" ".join(rng.choices(tiny.ANIMALS, k=rng.randint(1, 9))) for _ in range(40)]
    rows = [{"messages": [tiny.ask(k)], "chosen": said[k], "rejected": said[-1 - k]} for k in range(18)]
    data = tiny.table(tmp_path / "data", "comparisons", rows)
    stage = kind.model_validate(
        {**SETTINGS, "max_length": 128, "held_out": 0.5, "budget": {"steps": 2}, "trl": {"warmup_steps": 0}}
    )
    whole = tiny.result(stage, tmp_path, "whole", policy=base, data=data)
    monkeypatch.setattr(_run, "fitting_at_once", lambda *_: AtOnce(1, checkpointing=False))
    if kind is not Kto:  # whose divergence is a batch's
        monkeypatch.setattr(_run, "MEASURED_AT_ONCE", 5)
    apart = tiny.result(stage, tmp_path, "apart", policy=base, data=data)
    ours, theirs = (
        {row[:3:2]: row[3] for row in pl.read_parquet(p / "history.parquet").iter_rows()} for p in (apart, whole)
    )
    assert ours.keys() == theirs.keys()
    over_tokens = {
        "eval_loss",
        "eval_entropy",
        "eval_mean_token_accuracy",
        "eval_logits/chosen",
        "eval_logits/rejected",
    }
    ends = {"eval_min_reward", "eval_max_reward"}
    for (step, metric), value in theirs.items():
        no_rewards_yet = metric.endswith("accuracies") and step < 2  # which is greater is rounding
        if (metric not in over_tokens | ends or kind is Kto) and not no_rewards_yet:
            assert ours[step, metric] == pytest.approx(value, rel=1e-3, abs=1e-5), metric


@pytest.mark.slow
def test_the_loss_that_balances_experts_counts_once_a_batch(base: Path, tmp_path: Path) -> None:
    _, tokenizer = load_policy(base, "cpu")
    examples = [Example([5 + n] * 3, ([30 + n] * (2 + n),), n) for n in range(8)]
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none"}
    losses = []
    for at_once in (1000, 1):
        model = zoo.model("qwen3-moe")
        model.config.router_aux_loss_coef = 5.0
        trainer = _tokenized_sft.TokenizedSFTTrainer(
            model=model,
            args=SFTConfig(**settings, dataset_kwargs={"skip_prepare_dataset": True}),
            train_dataset=_tokenized_sft.rows(examples, "answers"),
            processing_class=tokenizer,
        )
        assert trainer.aux_loss_enabled
        trainer.tokens_at_once = at_once
        losses.append(float(trainer.training_step(trainer.model, list(trainer.train_dataset))))
    assert losses[1] == pytest.approx(losses[0], rel=0.2)


def test_parts_are_of_rows_alike_in_length_and_of_one_at_least() -> None:
    rows = [{"length": n} for n in (3, 9, 1, 4, 20, 4)]
    parts = list(in_parts(rows, lambda row: int(row["length"]), 10))
    assert [[row["length"] for row in part] for part in parts] == [[20], [9], [4, 4], [3, 1]]


def test_metrics_of_parts_are_averaged_by_what_the_loss_is_over() -> None:
    metrics = defaultdict(list, {"accuracy": [0.1, 1.0, 0.5], "num_tokens": [30.0]})
    average_metrics(
        metrics, {"accuracy": 1, "num_tokens": 1}, [[{"n": 1}], [{"n": 1}, {"n": 2}]], lambda _, row: row["n"]
    )
    assert metrics == {"accuracy": [0.1, 0.625], "num_tokens": [30.0]}
    extremes = defaultdict(list, {"min_reward": [0.5, -1.0], "max_reward": [0.5, -0.5]})
    average_metrics(extremes, {}, [[{}], [{}, {}]], lambda *_: 1)
    assert extremes == {"min_reward": [-1.0], "max_reward": [0.5]}
