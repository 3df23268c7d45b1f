"""Packed rows of shared prefixes under TRL's trainers: the same losses and gradients as their padded batches."""

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from datatrial.encoding import Example
from datatrial.policies import load_policy
from datatrial.rewards import with_score_head
from datatrial.training import _reward, _tokenized_dpo, _tokenized_sft
from datatrial.training._shared_prefixes import packed, places, share_prefixes
from tests.likelihood import zoo

pytestmark = pytest.mark.slow
TRL: dict[str, Any] = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none"}


def drawn(n: int, seed: int = 0) -> list[Example]:
    """Pairs of answers whose prompts begin alike, of many lengths; the reference says whatever."""
    rng = Random(seed)

    def tokens(longest: int) -> list[int]:
        return [rng.randrange(5, 300) for _ in range(rng.randint(1, longest))]

    starts = [tokens(30) for _ in range(3)]
    return [
        Example([1, *rng.choice(starts), *tokens(9)], (tokens(40), tokens(12)), 1, (-rng.random(), -rng.random()))
        for _ in range(n)
    ]


def adapted(base: Path, task: TaskType = TaskType.CAUSAL_LM) -> Any:
    """The base with a LoRA that does something."""
    model, tokenizer = load_policy(base, "cpu")
    torch.manual_seed(0)
    if task == TaskType.SEQ_CLS:
        model = with_score_head(model, tokenizer)
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type=task))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def step(trainer: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of all rows as one batch, and its gradients."""
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(list(trainer.train_dataset)))
    loss.backward()
    return loss.item(), {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}


def trainers(kind: str, base: Path, out: Path, examples: Sequence[Example]) -> tuple[Any, Any]:
    """Ours and TRL's, on equal models."""
    _, tokenizer = load_policy(base, "cpu")
    settings: dict[str, Any] = {"output_dir": str(out), "max_length": 128, **TRL}
    shared: dict[str, Any] = {"processing_class": tokenizer}
    if kind == "sft":
        shared["args"] = SFTConfig(**settings, dataset_kwargs={"skip_prepare_dataset": True})
        shared["train_dataset"] = _tokenized_sft.rows(examples, "answers")
        ours, theirs = (c(model=adapted(base), **shared) for c in (_tokenized_sft.TokenizedSFTTrainer, SFTTrainer))
        return ours, theirs
    if kind == "reward":
        shared["args"] = RewardConfig(**{**settings, "max_length": None})
        shared["train_dataset"] = _reward.rows(examples)
        classes = (_reward.TokenizedRewardTrainer, RewardTrainer)
        ours, theirs = (c(model=adapted(base, TaskType.SEQ_CLS), **shared) for c in classes)
        return ours, theirs

    class Prepared(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    shared["args"] = DPOConfig(**settings)
    shared["train_dataset"] = _tokenized_dpo.rows(examples)
    ours, theirs = (c(model=adapted(base), **shared) for c in (_tokenized_dpo.TokenizedDPOTrainer, Prepared))
    theirs.precompute_ref_logps = True
    return ours, theirs


@pytest.mark.parametrize("kind", ["sft", "dpo", "reward"])
def test_loss_metrics_and_gradients_are_those_of_trl(base: Path, tmp_path: Path, kind: str) -> None:
    ours, theirs = trainers(kind, base, tmp_path, drawn(7))
    read: list[int] = []
    layers = ours.model.get_base_model().model.layers
    layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: read.append(args[0].shape[:2].numel()), with_kwargs=True
    )
    (loss, gradients), (expected, others) = step(ours), step(theirs)
    [tokens] = read
    batch = theirs.data_collator(list(theirs.train_dataset))["input_ids"]
    assert tokens < 0.65 * batch.numel()
    assert loss == pytest.approx(expected, abs=1e-6)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        assert (gradient - others[name]).norm() < 1e-4 * others[name].norm()
    metrics, expected_metrics = ours._metrics["train"], theirs._metrics["train"]
    assert metrics.keys() == expected_metrics.keys()
    for name, values in metrics.items():
        assert values == pytest.approx(expected_metrics[name], abs=1e-4)


def test_of_reward_models_each_comparison_of_every_process_counts_once(base: Path, tmp_path: Path) -> None:
    """As if another process had two comparisons beside the one here, both told right by a margin of 3."""
    trainer, _ = trainers("reward", base, tmp_path, drawn(1))
    step(trainer)
    [alone] = trainer._metrics["train"]["margin"]
    gather = trainer.accelerator.gather
    trainer.accelerator.gather = lambda ours: torch.cat([gather(ours).reshape(-1), torch.tensor([3.0, 3.0])])
    step(trainer)
    metrics = trainer._metrics["train"]
    assert metrics["margin"][-1] == pytest.approx((alone + 6) / 3, abs=1e-5)
    assert metrics["accuracy"][-1] == pytest.approx(((alone > 0) + 2) / 3, abs=1e-5)


@pytest.mark.parametrize("name", ["gemma3", "gpt2", "qwen3-moe"])
def test_other_architectures_get_the_states_of_padded_batches(name: str) -> None:
    model = zoo.model(name)
    ids = torch.randint(5, 90, (4, 40), generator=torch.Generator().manual_seed(0))
    ids[1, :30], ids[3, :8] = ids[0, :30], ids[2, :8]
    mask = torch.ones_like(ids)
    mask[0, 33:] = mask[2, 9:] = 0
    body = model.get_decoder()
    padded = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    assert share_prefixes(model) == []
    shared = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    assert torch.allclose(shared[mask.bool()], padded[mask.bool()], atol=1e-4)


def test_a_model_that_tries_are_wrong_for_is_left_alone_and_says_so() -> None:
    model = zoo.model("gpt-neo")
    [note] = share_prefixes(model)
    assert "does not take block attention masks" in note
    assert not model.get_decoder()._forward_pre_hooks


def test_each_token_is_read_once_and_found_again() -> None:
    ids = torch.tensor([[1, 2, 3, 4, 0], [1, 2, 5, 0, 0], [1, 2, 3, 4, 6]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    one = packed(ids, mask, 64)
    assert one.size == 6
    found = one.tokens.reshape(-1)[places(one, tuple(ids.shape)).numpy()]
    assert (found[mask.bool().numpy()] == ids[mask.bool()].numpy()).all()
    assert math.prod(one.tokens.shape) < ids.numel()


def test_many_short_texts_fill_their_rows() -> None:
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(20, 80, (128,), generator=random)
    ids = torch.randint(5, 30_000, (128, 80), generator=random)
    one = packed(ids, (torch.arange(80) < lengths[:, None]).long(), 4096)
    assert one.tokens.size < 1.07 * one.size


@pytest.mark.parametrize(("hidden", "shape"), [(1, (8, 100)), (10_000, (1, 800))])
def test_rows_are_as_wide_as_pays(hidden: int, shape: tuple[int, int]) -> None:
    """Eight texts of one length, with nothing in common: attention is dear in a narrow model, padding is nowhere."""
    ids = torch.arange(800).reshape(8, 100) + 5
    assert packed(ids, torch.ones_like(ids), hidden).tokens.shape in (shape, (8, 100))
    lengths = torch.tensor([100, 70, 60, 60, 50, 50, 40, 30])
    mask = (torch.arange(100) < lengths[:, None]).long()
    one = packed(ids, mask, hidden)
    assert one.tokens.size < (1.3 if hidden == 1 else 1.05) * one.size
