"""How far a policy moved from its base model."""

import json
from pathlib import Path

import polars as pl
import pytest

from datatrial.drift import Drift, divergence
from datatrial.policies import load_policy
from datatrial.records import Runtime
from datatrial.training.sft import Sft
from tests import tiny


def test_the_divergence_is_torchs_and_zero_of_a_model_from_itself() -> None:
    import torch

    torch.manual_seed(0)
    ours, theirs = (torch.randn(5, 30).log_softmax(dim=-1) for _ in range(2))
    peer = torch.nn.functional.kl_div(theirs, ours, log_target=True, reduction="none").sum(dim=-1)
    assert torch.allclose(divergence(ours, theirs), peer)
    assert divergence(ours, ours).abs().max() == 0


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "benchmark_texts" / "t"
    folder.mkdir(parents=True)
    asked = [f"What does a vesp{n} eat? Bark, clover or leaves?" for n in range(9)]
    rows = {"item": [f"q:{n}" for n in range(9)], "text": asked, "benchmark": ["q"] * 9}
    pl.DataFrame(rows).write_parquet(folder / "texts.parquet")
    return folder


def drift(policy: Path, base: Path, asked: Path, out: Path, **settings: int) -> dict:
    out.mkdir()
    Drift(**settings).run({"policy": policy, "base": base, "benchmark/0": asked}, out, Runtime())
    return json.loads((out / "drift.json").read_text())


@pytest.mark.slow
def test_the_base_has_not_moved_and_training_moves_the_more_the_longer_it_is(
    base: Path, texts: Path, tmp_path: Path
) -> None:
    data = tiny.demonstrations(tmp_path / "data")
    short, long = (
        tiny.result(Sft(learning_rate=5e-3, epochs=epochs), tmp_path, f"e{epochs}", policy=base, data=data)
        for epochs in (1, 4)
    )
    none, little, much = (
        drift(policy, base, texts, tmp_path / f"out{n}")["kl_per_token"] for n, policy in enumerate((base, short, long))
    )
    assert none == pytest.approx(0, abs=1e-6)
    assert 0 < little < much


@pytest.mark.slow
def test_so_many_texts_are_read_as_far_as_asked(base: Path, texts: Path, tmp_path: Path) -> None:
    found = drift(base, base, texts, tmp_path / "out", texts=4, tokens=5)
    _, tokenizer = load_policy(base, "cpu")
    assert found["texts"] == 4
    assert found["tokens"] == 4 * min(5, len(tokenizer.encode("What does a vesp0 eat? Bark, clover or leaves?")))
