"""Settings that are picked by the loss on held-out examples."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from datatrial.errors import ModelError
from datatrial.training.sft import Sft
from datatrial.tuning.candidate import Candidate
from datatrial.tuning.tuned import Tuned, picked, took
from tests import tiny

STAGE = Sft(epochs=2, batch_size=4, max_length=64, held_out=0.25, tune={"learning_rate": (1e-6, 5e-3, 1e30)})


def test_the_lowest_loss_is_picked_of_equal_ones_the_first_and_never_one_that_diverged() -> None:
    settings = [{"epochs": n} for n in range(4)]
    assert picked([2.0, 1.5, 1.5, None], settings) == 1
    assert picked([math.nan, 3.0, None, 2.9], settings) == 3
    with pytest.raises(ModelError, match=r"diverged with each of the settings to pick from .epochs 0, epochs 1.: try"):
        picked([None, math.nan], settings[:2])


def test_every_combination_is_a_candidate() -> None:
    stage = Sft.model_validate({"tune": {"learning_rate": [1e-4, 1e-3], "batch_size": [4, 8]}})
    assert [tuple(one.values()) for one in stage.candidates] == [(1e-4, 4), (1e-4, 8), (1e-3, 4), (1e-3, 8)]
    assert stage.with_settings(stage.candidates[1]).batch_size == 8
    assert stage.with_settings(stage.candidates[1]).tune is None
    assert repr(stage.with_settings({"batch_size": 8.0}).batch_size) == "8"  # as it comes back from a step
    assert Sft().candidates == []


def test_what_the_candidates_took_is_added_up(tmp_path: Path) -> None:
    for number, tokens in enumerate((100, None)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "training.json").write_text(json.dumps({"tokens_seen": tokens}))
        (tmp_path / str(number) / "record.json").write_text(json.dumps({"seconds": 1.5}))
    assert took([tmp_path / "0", tmp_path / "1"]) == {"seconds": 3.0, "tokens": 100}


@pytest.mark.slow
def test_the_first_seed_takes_the_candidate_and_others_train_with_what_was_picked(base: Path, tmp_path: Path) -> None:
    data = tiny.demonstrations(tmp_path / "data")
    inputs: dict[str, Any] = {"policy": base, "data": data}
    for number, settings in enumerate(STAGE.candidates):
        candidate = Candidate(stage=STAGE.with_settings(settings))
        inputs[f"candidate-{number}"] = tiny.result(candidate, tmp_path, str(number), policy=base, data=data)
    diverged = tiny.summary(inputs["candidate-2"])
    assert diverged["held_out_loss_last"] is None
    assert "no number at step" in diverged["diverged"]

    def tuned(name: str, stage: Sft, first_seed: bool) -> Path:
        first = stage.with_settings(stage.candidates[0])
        task = Tuned(stage=first, settings=tuple(stage.candidates), first_seed=first_seed)
        return tiny.result(task, tmp_path, name, **inputs)

    first, other = tuned("first", STAGE, True), tuned("other", STAGE.model_copy(update={"seed": 1}), False)
    assert tiny.adapter_bytes(first) == tiny.adapter_bytes(inputs["candidate-1"])
    plain = Sft(learning_rate=5e-3, epochs=2, batch_size=4, max_length=64, held_out=0.25, seed=1)
    expected = tiny.result(plain, tmp_path, "plain", policy=base, data=data)
    assert tiny.adapter_bytes(other) == tiny.adapter_bytes(expected) != tiny.adapter_bytes(first)
    told = tiny.summary(other)["picked"]
    assert told == tiny.summary(first)["picked"]
    assert told["settings"] == {"learning_rate": 5e-3}
    losses = [tiny.summary(inputs[f"candidate-{n}"])["held_out_loss_last"] for n in range(3)]
    assert told["held_out_losses"] == losses
    assert losses[1] < losses[0]
