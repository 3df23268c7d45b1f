import math
from pathlib import Path
from typing import Any

import pytest

from datatrial.encoding import Example
from datatrial.errors import DataError
from datatrial.policies import load_policy
from datatrial.records import Runtime
from datatrial.tables import Table
from datatrial.training import _tokenized_kto
from datatrial.training._base import Budget, Stage
from datatrial.training.dpo import Dpo
from datatrial.training.kto import Kto
from datatrial.training.sft import Sft
from tests import tiny

pytestmark = pytest.mark.slow
SETTINGS: dict[str, Any] = {"learning_rate": 5e-3, "epochs": 2, "batch_size": 4, "max_length": 64, "held_out": 0.25}
KTO = Kto.model_validate(SETTINGS)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return tiny.comparisons(tmp_path / "pairs")


@pytest.fixture
def sft(base: Path, tmp_path: Path) -> Path:
    stage = Sft(learning_rate=5e-3, epochs=2, batch_size=4, max_length=64, held_out=0)
    return tiny.result(stage, tmp_path, "sft", policy=base, data=tiny.demonstrations(tmp_path / "demonstrations"))


def log_likelihood(model: Any, prompt: list[int], answer: list[int]) -> float:
    import torch

    with torch.no_grad():
        log_probs = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(float(log_probs[len(prompt) + n - 1, token]) for n, token in enumerate(answer))


def loss_of_a_batch(policy: Any, reference: Any, batch: list[dict[str, Any]], beta: float) -> float:
    """Equation 8 of Ethayarajh et al. (2024), with the reference point of section 4.1, one sequence at a time."""

    def ratio(prompt: list[int], answer: list[int]) -> float:
        return log_likelihood(policy, prompt, answer) - log_likelihood(reference, prompt, answer)

    answers = [row["completion_ids"] for row in batch]
    mismatched = zip(batch, answers[-1:] + answers[:-1], strict=True)
    point = max(0.0, sum(ratio(row["prompt_ids"], answer) for row, answer in mismatched) / len(batch))
    losses = []
    for row in batch:
        reward = beta * (ratio(row["prompt_ids"], row["completion_ids"]) - point)
        losses.append(1 - 1 / (1 + math.exp(-reward if row["label"] else reward)))
    return sum(losses) / len(losses)


def data_sets(policy: Path, pairs: Path, stage: Stage) -> dict[str, Any]:
    from datatrial.training import _tokenized_kto
    from datatrial.training._examples import prepare, with_own_reference

    _, tokenizer = load_policy(policy, "cpu")
    data = _tokenized_kto.unpaired(prepare(Table.read(pairs), tokenizer, stage, 2), stage)
    data = with_own_reference(data, policy, Runtime())
    return _tokenized_kto.data_sets(data, stage, policy, Runtime())


def test_the_held_out_loss_is_that_of_the_paper(base: Path, pairs: Path, tmp_path: Path) -> None:
    stage = KTO.model_copy(update={"epochs": 3.0})
    policy = tiny.result(stage, tmp_path, "a", policy=base, data=pairs)
    after, before = (load_policy(result, "cpu")[0] for result in (policy, base))
    held_out = list(data_sets(base, pairs, stage)["eval_dataset"])
    batches = [held_out[:8], held_out[8:]]
    expected = sum(len(b) * loss_of_a_batch(after, before, b, stage.beta) for b in batches) / len(held_out)
    assert len(held_out) == 12
    assert tiny.curve(policy, "eval_kl")[-1] > 0.01
    assert tiny.summary(policy)["held_out_loss_last"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("part", [1, 2])
def test_the_loss_of_a_step_in_parts_is_that_of_the_paper(
    base: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """The fourth step: those before have moved the policy, so that there is a divergence."""
    from datatrial.training import _run
    from datatrial.training._at_once import AtOnce

    settings = {"learning_rate": 2e-2, "batch_size": 6, "max_length": 64, "held_out": 0.0}
    settings["trl"] = {"warmup_steps": 0, "lr_scheduler_type": "constant"}
    monkeypatch.setattr(_run, "fitting_at_once", lambda *_: AtOnce(part * 60, checkpointing=False))
    three, four = (Kto.model_validate({**settings, "budget": {"steps": n}}) for n in (3, 4))
    before = tiny.result(three, tmp_path, "three", policy=base, data=pairs)
    policy = tiny.result(four, tmp_path, "four", policy=base, data=pairs)
    rows = list(data_sets(base, pairs, four)["train_dataset"])[18:]
    model, reference = (load_policy(result, "cpu")[0] for result in (before, base))
    assert {row["label"] for row in rows} == {True, False}
    assert tiny.curve(policy, "kl")[3] > 0.01
    assert tiny.curve(policy, "loss")[3] == pytest.approx(loss_of_a_batch(model, reference, rows, four.beta), abs=1e-5)
    for name, label in (("chosen", True), ("rejected", False)):
        ratios = [
            log_likelihood(model, row["prompt_ids"], row["completion_ids"]) - row["ref_logps"]
            for row in rows
            if row["label"] == label
        ]
        mean = four.beta * sum(ratios) / len(ratios)
        assert tiny.curve(policy, f"rewards/{name}")[3] == pytest.approx(mean, abs=1e-4)
    chosen, rejected = (tiny.curve(policy, f"rewards/{name}")[3] for name in ("chosen", "rejected"))
    assert tiny.curve(policy, "rewards/margins")[3] == pytest.approx(chosen - rejected, abs=1e-6)


def test_a_prompt_gets_the_answer_before_its_own_as_in_trl(sft: Path, pairs: Path) -> None:
    rows = list(data_sets(sft, pairs, KTO)["train_dataset"])
    assert len(rows) == 2 * 36
    for start in range(0, len(rows), 4):
        answers = [row["completion_ids"] for row in rows[start : start + 4]]
        assert [row["KL_completion_ids"] for row in rows[start : start + 4]] == answers[-1:] + answers[:-1]


def test_an_answer_that_is_alone_in_the_last_batch_is_not_its_own_mismatch() -> None:
    examples = [Example([n], ([10 + n],)) for n in range(5)]
    assert [e.answers[0] for e in _tokenized_kto.mismatched(examples, 4, 8)] == [[13], [10], [11], [12], [13]]


def test_both_answers_of_a_comparison_are_examples_of_their_own(sft: Path, pairs: Path, tmp_path: Path) -> None:
    counts = tiny.summary(tiny.result(KTO, tmp_path, "a", policy=sft, data=pairs))
    assert (counts["examples"], counts["held_out"], counts["examples_seen"], counts["steps"]) == (36, 12, 72, 18)
    rows = list(data_sets(sft, pairs, KTO)["train_dataset"])
    assert sum(row["label"] for row in rows) == 36
    together = [a["prompt_ids"] == b["prompt_ids"] for a, b in zip(rows[::2], rows[1::2], strict=True)]
    assert sum(together) < len(together) / 4


def test_the_reference_is_the_very_step_that_dpo_has(sft: Path, pairs: Path, tmp_path: Path) -> None:
    assert KTO.reads_beforehand() == Dpo.model_validate(SETTINGS).reads_beforehand() != {}
    assert Kto(budget=Budget(steps=2)).reads_beforehand() == {}
    [task] = KTO.reads_beforehand().values()
    reference = tiny.result(task, tmp_path, "reference", policy=sft, data=pairs)
    own = tiny.result(KTO, tmp_path, "own", policy=sft, data=pairs)
    given = tiny.result(KTO, tmp_path, "given", policy=sft, data=pairs, reference=reference)
    for metric in ("loss", "eval_loss", "kl"):
        assert tiny.curve(given, metric) == pytest.approx(tiny.curve(own, metric), abs=1e-4)


def test_it_learns_which_answers_are_good(sft: Path, pairs: Path, tmp_path: Path) -> None:
    policy = tiny.result(KTO.model_copy(update={"epochs": 6.0}), tmp_path, "a", policy=sft, data=pairs)
    assert tiny.curve(policy, "eval_loss")[0] == pytest.approx(0.5, abs=1e-6)
    assert tiny.summary(policy)["held_out_loss_last"] < 0.48
    assert tiny.curve(policy, "eval_rewards/margins")[-1] > 0.1


def test_answers_that_are_all_alone_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        Kto(batch_size=1)
    with pytest.raises(DataError, match="kto trains on comparisons, not on demonstrations"):
        tiny.result(KTO, tmp_path, "a", policy=base, data=tiny.demonstrations(tmp_path / "d"))
