import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.errors import DataError
from datatrial.policies import load_policy
from datatrial.records import ModelRef
from datatrial.reference_log_probs import read_log_probs
from datatrial.training._base import Budget
from datatrial.training.dpo import Dpo
from datatrial.training.sft import Sft
from tests import tiny

pytestmark = pytest.mark.slow
SFT = Sft(learning_rate=5e-3, epochs=2, batch_size=4, max_length=64, held_out=0)
DPO = Dpo(learning_rate=5e-3, epochs=2, batch_size=4, max_length=64, held_out=0.25)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return tiny.comparisons(tmp_path / "pairs")


@pytest.fixture
def sft(base: Path, tmp_path: Path) -> Path:
    return tiny.result(SFT, tmp_path, "sft", policy=base, data=tiny.demonstrations(tmp_path / "demonstrations"))


def answer_logps(policy: Path, pairs: Path) -> list[tuple[float, float]]:
    """Log-likelihood of each pair's chosen and rejected answer, one at a time, by the policy as it lies on disk."""
    model, tokenizer = load_policy(policy, "cpu")
    return [
        (logp(model, tokenizer, row, row["chosen"]), logp(model, tokenizer, row, row["rejected"]))
        for row in pl.read_parquet(pairs / "rows.parquet").to_dicts()
    ]


def logp(model: Any, tokenizer: Any, row: dict[str, Any], answer: str) -> float:
    import torch

    prompt = f"Question: {row['messages'][0]['content']}\n\nAnswer:"
    start = len(tokenizer(prompt)["input_ids"])
    ids = torch.tensor([tokenizer(f"{prompt} {answer}</s>")["input_ids"]])
    with torch.no_grad():
        logps = model(ids).logits.log_softmax(-1)[0, start - 1 : -1]
    total: float = logps.gather(1, ids[0, start:, None]).sum().item()
    return total


def reference_logps(policy: Path, pairs: Path, out: Path) -> list[tuple[float, float]]:
    """What DPO takes for the reference's log-likelihoods, of all pairs, on that policy."""
    [(name, task)] = DPO.reads_beforehand().items()
    assert name == "reference"
    return read_log_probs(tiny.result(task, out, "reference", policy=policy, data=pairs))


def flat(pairs: list[tuple[float, float]]) -> list[float]:
    return [logp for pair in pairs for logp in pair]


@pytest.mark.parametrize("start", ["base", "sft"])
def test_at_the_start_the_loss_is_ln_2_and_the_margins_are_0(
    request: pytest.FixtureRequest, pairs: Path, tmp_path: Path, start: str
) -> None:
    policy = tiny.result(DPO, tmp_path, "a", policy=request.getfixturevalue(start), data=pairs)
    assert tiny.curve(policy, "eval_loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert tiny.curve(policy, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    for metric in ("rewards/margins", "rewards/chosen", "rewards/rejected"):
        assert tiny.curve(policy, f"eval_{metric}")[0] == pytest.approx(0, abs=1e-6)
        assert tiny.curve(policy, metric)[0] == pytest.approx(0, abs=1e-6)


def test_after_sft_the_reference_is_the_sft_policy_not_the_base(
    base: Path, sft: Path, pairs: Path, tmp_path: Path
) -> None:
    reference = flat(reference_logps(sft, pairs, tmp_path))
    of_sft, of_base = flat(answer_logps(sft, pairs)), flat(answer_logps(base, pairs))
    assert reference == pytest.approx(of_sft, abs=1e-4)
    assert min(abs(a - b) for a, b in zip(reference, of_base, strict=True)) > 0.01


def test_on_a_base_model_the_reference_is_the_base(base: Path, pairs: Path, tmp_path: Path) -> None:
    reference = flat(reference_logps(base, pairs, tmp_path))
    assert reference == pytest.approx(flat(answer_logps(base, pairs)), abs=1e-4)


def test_a_reference_made_beforehand_is_the_one_that_the_stage_would_make(
    sft: Path, pairs: Path, tmp_path: Path
) -> None:
    [task] = DPO.reads_beforehand().values()
    reference = tiny.result(task, tmp_path, "reference", policy=sft, data=pairs)
    own = tiny.result(DPO, tmp_path, "own", policy=sft, data=pairs)
    given = tiny.result(DPO, tmp_path, "given", policy=sft, data=pairs, reference=reference)
    for metric in ("loss", "eval_loss", "rewards/margins"):
        assert tiny.curve(given, metric) == pytest.approx(tiny.curve(own, metric), abs=1e-4)


def test_where_a_stage_may_see_few_rows_it_asks_the_reference_itself(pairs: Path, sft: Path, tmp_path: Path) -> None:
    few = Dpo(budget=Budget(steps=2), batch_size=4, max_length=64)
    assert few.reads_beforehand() == {} == Dpo(epochs=0.5).reads_beforehand()
    policy = tiny.result(few, tmp_path, "few", policy=sft, data=pairs)
    assert tiny.curve(policy, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)


def test_beta_and_seed_share_a_reference_and_lengths_do_not() -> None:
    made = [Dpo(**settings).reads_beforehand() for settings in ({}, {"beta": 0.3, "seed": 4, "learning_rate": 1e-3})]
    assert made[0] == made[1] != Dpo(max_length=99).reads_beforehand()


def test_it_goes_on_training_the_sft_adapter_and_one_comes_out(
    base: Path, sft: Path, pairs: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    policy = tiny.result(DPO, tmp_path, "a", policy=sft, data=pairs)
    assert ModelRef.read(policy) == ModelRef(ModelRef.read(base).weights, str(policy / "adapter"))
    assert {path.name for path in policy.iterdir()} == tiny.TRAINED
    assert {p.name for p in (policy / "adapter").iterdir()} == tiny.ADAPTER
    before, after = (load_file(p / "adapter" / "adapter_model.safetensors") for p in (sft, policy))
    assert before.keys() == after.keys()
    still = tiny.result(DPO.model_copy(update={"learning_rate": 1e-30}), tmp_path, "still", policy=sft, data=pairs)
    assert tiny.adapter_bytes(still) == tiny.adapter_bytes(sft)


def test_it_learns_which_answer_is_better(sft: Path, pairs: Path, tmp_path: Path) -> None:
    stage = DPO.model_copy(update={"held_out": 0.0, "epochs": 4.0})
    policy = tiny.result(stage, tmp_path, "a", policy=sft, data=pairs)
    assert tiny.summary(policy)["loss_last"] < math.log(2)
    assert tiny.curve(policy, "rewards/margins")[-1] > 0
    gains = [
        (after[0] - after[1]) - (before[0] - before[1])
        for before, after in zip(answer_logps(sft, pairs), answer_logps(policy, pairs), strict=True)
    ]
    assert sum(gain > 0 for gain in gains) >= 20


def test_the_held_out_loss_is_that_of_the_paper(sft: Path, pairs: Path, tmp_path: Path) -> None:
    from datatrial.tables import Table
    from datatrial.training._examples import prepare

    policy = tiny.result(DPO, tmp_path, "a", policy=sft, data=pairs)
    _, tokenizer = load_policy(sft, "cpu")
    held_out = {tuple(e.prompt) for e in prepare(Table.read(pairs), tokenizer, DPO, answers=2).held_out}
    rows = pl.read_parquet(pairs / "rows.parquet").to_dicts()
    losses = [
        math.log1p(math.exp(-DPO.beta * ((new[0] - old[0]) - (new[1] - old[1]))))
        for row, old, new in zip(rows, answer_logps(sft, pairs), answer_logps(policy, pairs), strict=True)
        if tuple(tokenizer(f"Question: {row['messages'][0]['content']}\n\nAnswer:")["input_ids"]) in held_out
    ]
    assert len(losses) == 6
    assert tiny.summary(policy)["held_out_loss_last"] == pytest.approx(sum(losses) / 6, abs=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_other_ones(sft: Path, pairs: Path, tmp_path: Path) -> None:
    once, again, other = (
        tiny.result(DPO.model_copy(update={"seed": seed}), tmp_path, name, policy=sft, data=pairs)
        for name, seed in (("once", 1), ("again", 1), ("other", 2))
    )
    assert tiny.adapter_bytes(once) == tiny.adapter_bytes(again) != tiny.adapter_bytes(other)
    assert (once / "history.parquet").read_bytes() == (again / "history.parquet").read_bytes()


def test_demonstrations_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dpo trains on comparisons, not on demonstrations"):
        tiny.result(DPO, tmp_path, "a", policy=base, data=tiny.demonstrations(tmp_path / "d"))
