"""A worker that has trained and scored before does exactly what a fresh one does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datatrial.records import Runtime
from datatrial.training.dpo import Dpo
from datatrial.training.sft import Sft
from tests import tiny

pytestmark = pytest.mark.slow
A = Sft(learning_rate=5e-3, batch_size=4, max_length=64, seed=3)
B = Dpo(learning_rate=5e-3, batch_size=4, max_length=64, seed=4)
FRESH = """
import sys
from pathlib import Path
import torch
from tests.training.test_used_worker import B, score
from datatrial.records import Runtime
torch.set_num_threads(int(sys.argv[4]))
policy, data, out = (Path(argument) for argument in sys.argv[1:4])
B.run({"policy": policy, "data": data}, out, Runtime())
(out / "scores").write_text(repr(score(out)))
"""


def score(policy: Path) -> list[float]:
    import torch

    from datatrial.policies import load_policy

    model, tokenizer = load_policy(policy, "cpu")
    with torch.no_grad():
        logits: Any = model(**tokenizer("Question: What colour is vesp number 2?", return_tensors="pt")).logits
    return [float(value) for value in logits[0, -1]]


def test_a_used_worker_trains_and_scores_as_a_fresh_one(wide_base: Path, tmp_path: Path) -> None:
    import torch

    base = tiny.loaded_as(wide_base, tmp_path, quantization="nf4")
    pairs = tiny.comparisons(tmp_path / "pairs")
    before = score(base)
    sft = tiny.result(A, tmp_path, "sft", policy=base, data=tiny.demonstrations(tmp_path / "demonstrations"))
    score(sft)
    used = tiny.result(B, tmp_path, "used", policy=sft, data=pairs)
    assert score(base) == before

    fresh = tmp_path / "dpo" / "fresh"
    fresh.mkdir()
    arguments = [str(sft), str(pairs), str(fresh), str(torch.get_num_threads())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", FRESH, *arguments], check=True, timeout=240, env=environment)
    assert tiny.adapter_bytes(used) == tiny.adapter_bytes(fresh)
    assert (used / "history.parquet").read_bytes() == (fresh / "history.parquet").read_bytes()
    assert repr(score(used)) == (fresh / "scores").read_text()


def test_after_every_weight_was_trained_a_worker_is_as_before(base: Path, tmp_path: Path) -> None:
    """What it keeps of the base model is shared by all that it trains and scores."""
    data, pairs = tiny.demonstrations(tmp_path / "demonstrations"), tiny.comparisons(tmp_path / "pairs")
    before = score(base)
    adapter = tiny.result(A, tmp_path, "before", policy=base, data=data)
    whole = A.model_copy(update={"lora": False})
    policy = tiny.result(whole, tmp_path, "whole", policy=base, data=data)
    assert score(base) == before != score(policy)
    on_top = tiny.result(B, tmp_path, "on top", policy=policy, data=pairs)
    assert score(on_top) != score(policy)
    again = tiny.result(whole, tmp_path, "again", policy=base, data=data)
    after = tiny.result(A, tmp_path, "after", policy=base, data=data)
    assert tiny.adapter_bytes(adapter) == tiny.adapter_bytes(after)
    first, second = ((result / "weights" / "model.safetensors").read_bytes() for result in (policy, again))
    assert first == second


def test_a_failed_step_leaves_no_trace(base: Path, tmp_path: Path) -> None:
    from datatrial.errors import ModelError

    data = tiny.demonstrations(tmp_path / "demonstrations")
    before = tiny.result(A, tmp_path, "before", policy=base, data=data)
    with pytest.raises(ModelError):
        A.model_copy(update={"learning_rate": 1e30}).run({"policy": base, "data": data}, tmp_path, Runtime())
    after = tiny.result(A, tmp_path, "after", policy=base, data=data)
    assert tiny.adapter_bytes(before) == tiny.adapter_bytes(after)
