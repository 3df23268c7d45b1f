"""Batches in parts: memory that runs out changes nothing but how much goes through at a time."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trl import DPOTrainer, SFTTrainer

from datatrial.errors import ModelError
from datatrial.training import _run
from datatrial.training._at_once import AtOnce
from datatrial.training._base import Stage
from datatrial.training._parts import average_metrics, in_parts
from datatrial.training.dpo import Dpo
from datatrial.training.sft import Sft
from tests import tiny

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
    short_of_memory(monkeypatch, SFTTrainer, 1)
    stage = Sft.model_validate({**SETTINGS, "budget": {"steps": 3}})
    with pytest.raises(ModelError, match=r"one example at a time, of \d+ tokens at most: lower max_length"):
        tiny.result(stage, tmp_path, "a", policy=base, data=tiny.demonstrations(tmp_path / "data"))


@pytest.mark.slow
def test_other_errors_are_not_taken_for_memory(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(SFTTrainer, "compute_loss", broken)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        tiny.result(Sft(held_out=0), tmp_path, "a", policy=base, data=tiny.demonstrations(tmp_path / "data"))


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
