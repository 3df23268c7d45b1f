"""A budget, packing and the batch, as TRL carries them out."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.policies import load_policy, load_tokenizer
from datatrial.records import ModelRef
from datatrial.tables import Table
from datatrial.training._base import Stage
from datatrial.training._examples import prepare
from datatrial.training._order import packed
from datatrial.training.dpo import Dpo
from datatrial.training.kto import Kto
from datatrial.training.orpo import Orpo
from datatrial.training.reward import Reward
from datatrial.training.sft import Sft
from tests import tiny

pytestmark = pytest.mark.slow
SETTINGS: dict[str, Any] = {"learning_rate": 5e-3, "batch_size": 4, "max_length": 64, "held_out": 0}


def long_demonstrations(folder: Path, n: int = 9) -> Path:
    rows = [{"messages": [tiny.ask(k), {"role": "assistant", "content": "red plum " * (k + 1)}]} for k in range(n)]
    return tiny.table(folder, "demonstrations", rows)


@pytest.mark.parametrize(
    ("budget", "steps", "examples"), [({"steps": 7}, 7, 28), ({"examples": 29}, 8, 29), ({"tokens": 1500}, None, None)]
)
def test_a_budget_is_kept_to_and_counted(
    base: Path, tmp_path: Path, budget: dict[str, int], steps: int | None, examples: int | None
) -> None:
    stage = Sft.model_validate({**SETTINGS, "budget": budget})
    policy = tiny.result(stage, tmp_path, "a", policy=base, data=long_demonstrations(tmp_path / "data"))
    counts = tiny.summary(policy)
    if steps:
        assert (counts["steps"], counts["examples_seen"]) == (steps, examples)
    else:
        assert 1500 <= counts["tokens_seen"] < 1500 + 4 * 64
        assert counts["examples_seen"] == 4 * counts["steps"]
    assert counts["examples"] == 9
    assert counts["passes"] == pytest.approx(counts["examples_seen"] / 9)
    history = pl.read_parquet(policy / "history.parquet")
    assert history["epoch"].max() == pytest.approx(counts["passes"])
    rates = tiny.curve(policy, "learning_rate")
    assert rates[-1] < 0.1 * max(rates)  # the schedule knew where the end was


@pytest.mark.parametrize("kind", [Sft, Dpo])
def test_tokens_are_counted_as_trl_counts_them(base: Path, tmp_path: Path, kind: type[Sft] | type[Dpo]) -> None:
    """Of a comparison, the prompt goes through the model with each of its answers."""
    stage = kind.model_validate({**SETTINGS, "budget": {"tokens": 900}})
    rows = tiny.comparisons(tmp_path / "data", 10)
    policy = tiny.result(stage, tmp_path, "a", policy=base, data=rows)
    _, tokenizer = load_policy(base, "cpu")
    data = prepare(Table.read(rows), tokenizer, stage, answers=1 if kind is Sft else 2)
    seen = [data.train[place] for place in data.order.places]
    ours = sum(len(e.prompt) + len(answer) for e in seen for answer in e.answers)
    assert tiny.summary(policy)["tokens_seen"] == ours
    assert 900 <= ours < 900 + 4 * 64 * 2


def packed_loss(base: Path, rows: list[tuple[list[int], list[bool]]], loss: str) -> float:
    """Mean negative log-likelihood over the learned tokens of rows, one row at a time."""
    import torch

    model, _ = load_policy(base, "cpu")
    total, count = 0.0, 0
    for ids, of_answer in rows:
        with torch.no_grad():
            logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        for place in range(1, len(ids)):
            if of_answer[place] or loss == "all_tokens":
                total -= logp[place - 1, ids[place]].item()
                count += 1
    return total / count


@pytest.mark.parametrize("loss", ["answers", "all_tokens"])
def test_packed_rows_are_trained_on_whole_and_the_loss_is_over_the_tokens_that_are_learned(
    base: Path, tmp_path: Path, loss: str
) -> None:
    rows = long_demonstrations(tmp_path / "data")
    stage = Sft.model_validate({**SETTINGS, "batch_size": 64, "packing": True, "loss": loss, "epochs": 2, "seed": 3})
    policy = tiny.result(stage, tmp_path, "a", policy=base, data=rows)
    tokenizer = load_tokenizer(Path(ModelRef.read(base).weights))
    data = prepare(Table.read(rows), tokenizer, stage, answers=1)
    cut = list(packed(data.train, data.order, 64))
    counts = tiny.summary(policy)
    assert (counts["packed_rows"], counts["steps"], counts["examples_seen"], counts["passes"]) == (len(cut), 1, 18, 2.0)
    assert counts["tokens_seen"] == sum(len(ids) for ids, _ in cut)
    assert (counts["truncated"], counts["dropped"]) == (0, {})
    assert counts["loss_first"] == pytest.approx(packed_loss(base, cut, loss), abs=1e-5)


def test_packing_changes_nothing_of_how_held_out_examples_are_measured(base: Path, tmp_path: Path) -> None:
    rows = long_demonstrations(tmp_path / "data", 20)
    apart = Sft.model_validate({**SETTINGS, "held_out": 0.25})
    together = apart.model_copy(update={"packing": True})
    first = [
        tiny.curve(tiny.result(stage, tmp_path, name, policy=base, data=rows), "eval_loss")[0]
        for stage, name in ((apart, "apart"), (together, "together"))
    ]
    assert first[0] == first[1]


def test_the_loss_of_all_tokens_is_that_of_prompts_too(base: Path, tmp_path: Path) -> None:
    import torch

    rows = tiny.demonstrations(tmp_path / "data")
    stage = Sft.model_validate({**SETTINGS, "batch_size": 24, "loss": "all_tokens"})
    policy = tiny.result(stage, tmp_path, "a", policy=base, data=rows)
    model, tokenizer = load_policy(base, "cpu")
    data = prepare(Table.read(rows), tokenizer, stage, answers=1)
    total, count = 0.0, 0
    for example in data.train:
        ids = torch.tensor([example.prompt + example.answers[0]])
        with torch.no_grad():
            logp = model(ids).logits[0, :-1].log_softmax(-1)
        total -= logp.gather(1, ids[0, 1:, None]).sum().item()
        count += ids.shape[1] - 1
    assert tiny.summary(policy)["loss_first"] == pytest.approx(total / count, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "extra"),
    [(Sft, {}), (Sft, {"packing": True, "loss": "all_tokens"}), (Dpo, {}), (Reward, {}), (Kto, {}), (Orpo, {})],
    ids=["sft", "packed", "dpo", "reward", "kto", "orpo"],
)
@pytest.mark.parametrize(("budget", "part"), [({"steps": 3}, 1), ({"examples": 11}, 2)], ids=["alike", "with a rest"])
def test_a_batch_in_parts_gives_the_update_of_the_whole_batch(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Stage],
    extra: dict[str, Any],
    budget: dict[str, int],
    part: int,
) -> None:
    from safetensors.torch import load_file

    from datatrial.training import _run
    from datatrial.training._at_once import AtOnce

    stage = kind.model_validate({**SETTINGS, "budget": budget, **extra})
    rows = (long_demonstrations if kind is Sft else tiny.comparisons)(tmp_path / "data")
    whole = tiny.result(stage, tmp_path, "whole", policy=base, data=rows)
    monkeypatch.setattr(_run, "fitting_at_once", lambda *_: AtOnce(part * 80, checkpointing=False))
    parts = tiny.result(stage, tmp_path, "parts", policy=base, data=rows)
    assert tiny.summary(parts)["tokens_at_once"] == part * 80 < tiny.summary(whole)["tokens_at_once"]
    assert tiny.curve(parts, "loss") == pytest.approx(tiny.curve(whole, "loss"), abs=1e-5)
    assert tiny.curve(parts, "grad_norm") == pytest.approx(tiny.curve(whole, "grad_norm"), rel=1e-3)
    ours, theirs = (load_file(policy / "adapter" / "adapter_model.safetensors") for policy in (whole, parts))
    for name, tensor in ours.items():
        # Adam divides by the size of a gradient, so one that is next to nothing can turn either way.
        assert (tensor - theirs[name]).abs().mean() < 0.02 * (3 * stage.learning_rate)


def test_the_published_recipe_is_accepted_and_runs_on_a_cpu(wide_base: Path, tmp_path: Path) -> None:
    """TRL's stack-llama-2, its counts made small: 4-bit base, two layers adapted with dropout, a paged optimizer."""
    base = tiny.loaded_as(wide_base, tmp_path, quantization="nf4")
    shared: dict[str, Any] = {
        "lora": {"r": 8, "alpha": 16, "dropout": 0.05, "target_modules": ["q_proj", "v_proj"]},
        "trl": {"optim": "paged_adamw_32bit", "lr_scheduler_type": "cosine", "warmup_steps": 2, "weight_decay": 0.05},
        "max_length": 64,
    }
    sft = Sft.model_validate(
        {
            **shared,
            "learning_rate": 1e-4,
            "batch_size": 8,
            "packing": True,
            "loss": "all_tokens",
            "budget": {"steps": 5},
        }
    )
    dpo = Dpo.model_validate(
        {
            **shared,
            "learning_rate": 5e-4,
            "batch_size": 16,
            "beta": 0.1,
            "max_prompt_length": 32,
            "budget": {"steps": 5},
        }
    )
    first = tiny.result(sft, tmp_path, "a", policy=base, data=tiny.demonstrations(tmp_path / "d"))
    second = tiny.result(dpo, tmp_path, "a", policy=first, data=tiny.comparisons(tmp_path / "c"))
    assert [tiny.summary(policy)["steps"] for policy in (first, second)] == [5, 5]
    assert (tiny.summary(first)["packed_rows"], tiny.summary(second)["examples_seen"]) == (40, 80)
    assert max(tiny.curve(first, "learning_rate")) == pytest.approx(1e-4)


def test_the_paged_optimizer_makes_the_steps_of_torchs_adamw(base: Path, tmp_path: Path) -> None:
    """On a CPU, where bitsandbytes has no pages to move, it is its AdamW."""
    rows = tiny.demonstrations(tmp_path / "data")
    curves = [
        tiny.curve(tiny.result(stage, tmp_path, optim, policy=base, data=rows), "loss")
        for optim in ("paged_adamw_32bit", "adamw_torch")
        for stage in [Sft.model_validate({**SETTINGS, "trl": {"optim": optim, "weight_decay": 0.05}})]
    ]
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
