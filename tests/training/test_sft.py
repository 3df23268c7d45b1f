import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.errors import ModelError
from datatrial.policies import load_policy
from datatrial.records import ModelRef, Runtime, read_json
from datatrial.training._base import Lora
from datatrial.training.sft import Sft
from tests import tiny

pytestmark = pytest.mark.slow
SFT = Sft(learning_rate=5e-3, epochs=2, batch_size=4, max_length=64, held_out=0.25)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny.demonstrations(tmp_path / "data")


def with_(stage: Sft, **changes: Any) -> Sft:
    return stage.model_copy(update=changes)


def answer_loss(policy: Path, data: Path, rows: list[int]) -> float:
    """Mean negative log-likelihood of the answers' tokens, one row at a time, by the policy as it lies on disk."""
    import torch

    model, tokenizer = load_policy(policy, "cpu")
    total, count = 0.0, 0
    for ask, reply in pl.read_parquet(data / "rows.parquet")["messages"].gather(rows):
        prompt = tokenizer(f"Question: {ask['content']}\n\nAnswer:")["input_ids"]
        ids = torch.tensor([[*tokenizer(f"Question: {ask['content']}\n\nAnswer: {reply['content']}")["input_ids"], 2]])
        with torch.no_grad():
            logp = model(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        answer = ids[0, len(prompt) :]
        total -= logp.gather(1, answer[:, None]).sum().item()
        count += len(answer)
    return total / count


def test_it_learns_the_answers_and_keeps_the_curves(base: Path, data: Path, tmp_path: Path) -> None:
    policy = tiny.result(SFT, tmp_path, "a", policy=base, data=data)
    counts = tiny.summary(policy)
    assert (counts["examples"], counts["held_out"], counts["truncated"], counts["dropped"]) == (18, 6, 0, {})
    assert (counts["steps"], counts["passes"]) == (9, 2.0)
    assert counts["loss_last"] < counts["loss_first"]
    assert counts["held_out_loss_last"] < counts["held_out_loss_first"]
    assert tiny.curve(policy, "loss")[-1] == counts["loss_last"]
    held_out = tiny.curve(policy, "eval_loss")
    assert len(held_out) == 4  # at the start, then every third of nine steps
    assert held_out[0] == counts["held_out_loss_first"]
    history = pl.read_parquet(policy / "history.parquet")
    assert history.schema == {"step": pl.Int64, "epoch": pl.Float64, "metric": pl.String, "value": pl.Float64}
    assert history["step"].max() == 9
    assert {"grad_norm", "learning_rate", "mean_token_accuracy"} <= set(history["metric"])
    assert not any("second" in metric or "runtime" in metric for metric in history["metric"])


def test_the_loss_is_that_of_the_answers_alone(base: Path, data: Path, tmp_path: Path) -> None:
    one_batch = with_(SFT, held_out=0, batch_size=24, epochs=1)
    policy = tiny.result(one_batch, tmp_path, "a", policy=base, data=data)
    assert tiny.summary(policy)["loss_first"] == pytest.approx(answer_loss(base, data, list(range(24))), abs=1e-5)


def test_the_tokens_trained_on_are_counted_without_padding(base: Path, data: Path, tmp_path: Path) -> None:
    policy = tiny.result(with_(SFT, held_out=0), tmp_path, "a", policy=base, data=data)
    _, tokenizer = load_policy(base, "cpu")
    texts = [
        f"Question: {ask['content']}\n\nAnswer: {reply['content']}</s>"
        for ask, reply in pl.read_parquet(data / "rows.parquet")["messages"]
    ]
    assert tiny.summary(policy)["tokens_seen"] == 2 * sum(len(ids) for ids in tokenizer(texts)["input_ids"])


def test_the_result_is_an_adapter_on_the_base_that_loads_and_has_learned(
    base: Path, data: Path, tmp_path: Path
) -> None:
    policy = tiny.result(SFT, tmp_path, "a", policy=base, data=data)
    assert {path.name for path in policy.iterdir()} == tiny.TRAINED
    assert {p.name for p in (policy / "adapter").iterdir()} == tiny.ADAPTER
    assert read_json(policy / "adapter" / "adapter_config.json")["base_model_name_or_path"] is None
    assert ModelRef.read(policy) == ModelRef(ModelRef.read(base).weights, str(policy / "adapter"))
    model, _ = load_policy(policy, "cpu")
    assert list(model.peft_config) == ["default"]
    rows = list(range(24))
    assert answer_loss(policy, data, rows) < 0.8 * answer_loss(base, data, rows)


def test_the_same_seed_gives_the_same_bytes_and_another_other_order_and_initialization(
    base: Path, data: Path, tmp_path: Path
) -> None:
    once, again, other = (
        tiny.result(with_(SFT, seed=seed), tmp_path, name, policy=base, data=data)
        for name, seed in (("once", 1), ("again", 1), ("other", 2))
    )
    for file in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "history.parquet"):
        assert (once / file).read_bytes() == (again / file).read_bytes()
    assert tiny.adapter_bytes(once) != tiny.adapter_bytes(other)
    start, other_start = (tiny.curve(policy, "eval_loss")[0] for policy in (once, other))
    assert start == other_start  # the same rows are held out, and LoRA starts as no change
    assert tiny.curve(once, "loss")[0] != tiny.curve(other, "loss")[0]  # the first batches differ


def test_the_seed_draws_the_initialization_of_lora(base: Path, data: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    # A learning rate this small leaves lora_A as it was drawn.
    still = with_(SFT, learning_rate=1e-30, epochs=1)
    drawn = [
        load_file(
            tiny.result(with_(still, seed=seed), tmp_path, str(seed), policy=base, data=data)
            / "adapter"
            / "adapter_model.safetensors"
        )
        for seed in (0, 1)
    ]
    of_a = [name for name in drawn[0] if "lora_A" in name]
    assert of_a
    assert all((drawn[0][name] != drawn[1][name]).any() for name in of_a)


def test_sft_on_an_adapter_goes_on_training_it(base: Path, data: Path, tmp_path: Path) -> None:
    first = tiny.result(SFT, tmp_path, "first", policy=base, data=data)
    second = tiny.result(SFT, tmp_path, "second", policy=first, data=data)
    assert ModelRef.read(second).weights == ModelRef.read(base).weights
    assert tiny.curve(second, "eval_loss")[0] == pytest.approx(tiny.curve(first, "eval_loss")[-1], abs=1e-5)


@pytest.mark.parametrize(
    ("lora", "name"),
    [(Lora(r=4), "r"), (Lora(alpha=8), "alpha"), (Lora(target_modules=("q_proj", "v_proj")), "target_modules")],
)
def test_an_adapter_of_another_shape_is_refused(base: Path, data: Path, tmp_path: Path, lora: Lora, name: str) -> None:
    first = tiny.result(with_(SFT, epochs=0.1), tmp_path, "first", policy=base, data=data)
    with pytest.raises(ModelError, match=rf"has {name} .* set lora\.{name} to match"):
        tiny.result(with_(SFT, lora=lora), tmp_path, "second", policy=first, data=data)


def test_named_targets_are_those_adapted(base: Path, data: Path, tmp_path: Path) -> None:
    stage = with_(SFT, epochs=0.1, lora=Lora(r=2, alpha=4, target_modules=("v_proj", "q_proj")))
    policy = tiny.result(stage, tmp_path, "a", policy=base, data=data)
    config = json.loads((policy / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (2, 4, ["q_proj", "v_proj"])
    tiny.result(stage, tmp_path, "b", policy=policy, data=data)


def test_a_setting_of_trl_passes_through(base: Path, data: Path, tmp_path: Path) -> None:
    policy = tiny.result(
        with_(SFT, epochs=0.5, trl={"lr_scheduler_type": "constant"}), tmp_path, "a", policy=base, data=data
    )
    assert tiny.curve(policy, "learning_rate")[-1] == SFT.learning_rate


def test_a_value_that_trl_refuses_is_one_clear_error(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"TRL refuses the settings of sft: .*cosin"):
        tiny.result(with_(SFT, trl={"lr_scheduler_type": "cosin"}), tmp_path, "a", policy=base, data=data)


def test_a_loss_that_is_no_number_ends_the_run_and_says_what_to_lower(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no number at step \d+ of 9: lower learning_rate \(now 1e\+30\)"):
        tiny.result(with_(SFT, learning_rate=1e30), tmp_path, "a", policy=base, data=data)


def test_progress_counts_the_steps_and_nothing_is_printed(
    base: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[float, float, str]] = []
    SFT.run({"policy": base, "data": data}, tmp_path, Runtime(progress=lambda *told: seen.append(told)))
    assert seen == [(n, 9, "training steps") for n in range(1, 10)]
    assert capfd.readouterr().out == ""


def test_training_asks_nothing_of_the_network(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    asked: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address) or [])
    monkeypatch.delenv("CI", raising=False)  # TRL keeps quiet where it is set
    tiny.result(SFT, tmp_path, "a", policy=base, data=data)
    assert asked == []


def test_the_head_scores_answers_alone_and_gives_the_same_loss(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl.trainer.utils

    ours = tiny.result(SFT, tmp_path, "ours", policy=base, data=data)
    assert trl.trainer.utils._use_triton("cpu")
    monkeypatch.setattr(trl.trainer.utils, "_use_triton", lambda _: False)
    theirs = tiny.result(SFT, tmp_path, "theirs", policy=base, data=data)
    assert tiny.curve(ours, "loss") == pytest.approx(tiny.curve(theirs, "loss"), abs=1e-4)


def test_bfloat16_trains_and_leaves_no_trace_in_a_float32_run_after_it(base: Path, data: Path, tmp_path: Path) -> None:
    before = tiny.result(SFT, tmp_path, "before", policy=base, data=data)
    half = tiny.loaded_as(base, tmp_path, dtype="bfloat16")
    policy = tiny.result(SFT, tmp_path, "half", policy=half, data=data)
    assert ModelRef.read(policy).dtype == "bfloat16"
    assert math.isfinite(tiny.summary(policy)["loss_last"])
    after = tiny.result(SFT, tmp_path, "after", policy=base, data=data)
    assert tiny.adapter_bytes(before) == tiny.adapter_bytes(after) != tiny.adapter_bytes(policy)


def test_the_held_out_loss_of_batches_that_are_not_full_is_over_examples(base: Path, tmp_path: Path) -> None:
    """11 held-out examples in batches of 8 and 3, each with the mean over its tokens."""
    import torch

    from datatrial.tables import Table
    from datatrial.training._examples import prepare

    rows = tiny.demonstrations(tmp_path / "d", 22)
    stage = SFT.model_copy(update={"held_out": 0.5})
    policy = tiny.result(stage, tmp_path, "a", policy=base, data=rows)
    model, tokenizer = load_policy(policy, "cpu")
    held_out = prepare(Table.read(rows), tokenizer, stage, 1).held_out
    losses = []
    for batch in (held_out[:8], held_out[8:]):
        said = []
        for example in batch:
            ids = torch.tensor([example.prompt + example.answers[0]])
            with torch.no_grad():
                logp = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
            said += logp[len(example.prompt) - 1 :, 0].tolist()
        losses.append(-sum(said) / len(said) * len(batch))
    assert len(held_out) == 11
    assert tiny.summary(policy)["held_out_loss_last"] == pytest.approx(sum(losses) / 11, abs=1e-5)
