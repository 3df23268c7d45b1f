import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.policies import load_policy
from datatrial.tables import Table
from datatrial.training.orpo import Orpo
from tests import tiny

pytestmark = pytest.mark.slow
SETTINGS: dict[str, Any] = {"learning_rate": 5e-3, "batch_size": 6, "max_length": 64, "held_out": 0.25}
ORPO = Orpo.model_validate({**SETTINGS, "epochs": 4})


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Of many lengths, so that parts of a batch weigh otherwise by tokens than by examples."""
    rows = [
        {"messages": [tiny.ask(k)], "chosen": "red " * (1 + 2 * (k % 4)), "rejected": "grey " * (1 + k % 3)}
        for k in range(24)
    ]
    return tiny.table(tmp_path / "pairs", "comparisons", rows)


def log_probs(model: Any, ids: list[int]) -> list[float]:
    """Of each token after the first."""
    import torch

    with torch.no_grad():
        found = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return [float(found[place, token]) for place, token in enumerate(ids[1:])]


def loss_of_a_batch(policy: Path, examples: list[Any], beta: float) -> float:
    """Equations 6 and 7 of Hong et al. (2024), one sequence at a time; the likelihood is TRL's, prompts included."""
    model, _ = load_policy(policy, "cpu")
    learned: list[float] = []
    ratios = []
    for example in examples:
        chosen, rejected = (log_probs(model, example.prompt + answer) for answer in example.answers)
        learned += chosen
        start = len(example.prompt) - 1
        p, q = (math.exp(sum(found[start:]) / len(found[start:])) for found in (chosen, rejected))
        odds = (p / (1 - p)) / (q / (1 - q))
        ratios.append(math.log(1 / (1 + 1 / odds)))
    return -sum(learned) / len(learned) - beta * sum(ratios) / len(ratios)


def prepared(policy: Path, pairs: Path, stage: Orpo) -> Any:
    from datatrial.training._examples import prepare

    return prepare(Table.read(pairs), load_policy(policy, "cpu")[1], stage, 2)


@pytest.mark.parametrize("part", [None, 1, 2])
def test_the_loss_of_a_step_is_that_of_the_paper(
    base: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int | None
) -> None:
    from datatrial.training import _run
    from datatrial.training._at_once import AtOnce

    if part:
        monkeypatch.setattr(_run, "fitting_at_once", lambda *_: AtOnce(part * 130, checkpointing=False))
    stage = Orpo.model_validate({**SETTINGS, "budget": {"steps": 1}, "beta": 0.7})
    policy = tiny.result(stage, tmp_path, "a", policy=base, data=pairs)
    data = prepared(base, pairs, stage)
    first = [data.train[place] for place in data.order.places]
    assert len(first) == 6
    assert tiny.curve(policy, "loss")[0] == pytest.approx(loss_of_a_batch(base, first, stage.beta), abs=1e-5)
    learned = sum(len(e.prompt) + len(e.answers[0]) - 1 for e in first)
    model, _ = load_policy(base, "cpu")
    likelihood = -sum(sum(log_probs(model, e.prompt + e.answers[0])) for e in first) / learned
    assert tiny.curve(policy, "nll_loss")[0] == pytest.approx(likelihood, abs=1e-5)
    tokens = sum(len(e.prompt) + len(answer) for e in first for answer in e.answers)
    assert tiny.summary(policy)["tokens_seen"] == tokens


def test_the_held_out_loss_is_that_of_the_result(base: Path, pairs: Path, tmp_path: Path) -> None:
    policy = tiny.result(ORPO, tmp_path, "a", policy=base, data=pairs)
    held_out = prepared(base, pairs, ORPO).held_out
    assert len(held_out) == 6
    expected = loss_of_a_batch(policy, held_out, ORPO.beta)
    assert tiny.summary(policy)["held_out_loss_last"] == pytest.approx(expected, abs=1e-5)


def test_loss_and_gradients_are_those_of_trls_own_forward(base: Path, pairs: Path, tmp_path: Path) -> None:
    """Which makes the logits of every token, and takes other columns."""
    import torch
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    from datatrial.training._tokenized_orpo import TokenizedORPOTrainer, rows
    from tests.training.test_shared_prefixes import TRL, adapted

    _, tokenizer = load_policy(base, "cpu")
    examples = prepared(base, pairs, ORPO).train
    args = ORPOConfig(output_dir=str(tmp_path), max_length=64, disable_dropout=True, remove_unused_columns=False, **TRL)
    ours = TokenizedORPOTrainer(
        model=adapted(base), args=args, train_dataset=rows(examples), processing_class=tokenizer
    )
    columns: dict[str, list[Any]] = {}
    for e in examples:
        for side, answer in zip(("chosen", "rejected"), e.answers, strict=True):
            ids = e.prompt + answer
            columns.setdefault(f"{side}_input_ids", []).append(ids)
            columns.setdefault(f"{side}_attention_mask", []).append([1] * len(ids))
            columns.setdefault(f"{side}_labels", []).append([-100] * len(e.prompt) + answer)
    padded = {
        name: torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(v) for v in values], batch_first=True, padding_value=-100 if "labels" in name else 0
        )
        for name, values in columns.items()
    }

    class Prepared(ORPOTrainer):  # type: ignore[misc]
        def tokenize_row(self, feature: Any, *_: Any, **__: Any) -> Any:
            return feature

    theirs = Prepared(model=adapted(base), args=args, train_dataset=rows(examples), processing_class=tokenizer)
    batches = (ours.data_collator(list(ours.train_dataset)), padded)
    losses = []
    for trainer, batch in zip((ours, theirs), batches, strict=True):
        trainer.model.train()
        losses.append(trainer.compute_loss(trainer.model, batch))
        losses[-1].backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-5)
    others = dict(theirs.model.named_parameters())
    for name, parameter in ours.model.named_parameters():
        if parameter.grad is not None:
            assert (parameter.grad - others[name].grad).norm() < 1e-4 * others[name].grad.norm()


def test_it_learns_the_chosen_answers_and_their_odds(base: Path, pairs: Path, tmp_path: Path) -> None:
    policy = tiny.result(ORPO, tmp_path, "a", policy=base, data=pairs)
    assert tiny.curve(policy, "nll_loss")[-1] < tiny.curve(policy, "nll_loss")[0]
    odds = tiny.curve(policy, "log_odds_chosen")
    assert odds[-1] > odds[0]
    assert not pl.read_parquet(policy / "history.parquet")["value"].is_nan().any()
