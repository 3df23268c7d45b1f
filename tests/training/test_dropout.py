"""What is left out depends on the token and the step, however a batch is laid out."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datatrial.training import _run
from datatrial.training._at_once import AtOnce
from datatrial.training._base import Stage
from datatrial.training._dropout import TokenDropout, TokenKeys
from datatrial.training.dpo import Dpo
from datatrial.training.orpo import Orpo
from datatrial.training.reward import Reward
from datatrial.training.sft import Sft
from tests import tiny

P, WIDTH = 0.1, 256


def keyed(ids: torch.Tensor, step: int = 0, seed: int = 0, **inputs: Any) -> TokenKeys:
    tokens = TokenKeys(seed)
    tokens.step = step
    tokens.take(torch.nn.Identity(), (), {"input_ids": ids, **inputs})
    return tokens


def left_out(ids: torch.Tensor, salt: int = 1, **how: Any) -> torch.Tensor:
    layer = TokenDropout(P, salt, keyed(ids, **how)).train()
    return layer(torch.ones(*ids.shape, WIDTH)) == 0


IDS = torch.randint(0, 2000, (8, 60), generator=torch.Generator().manual_seed(1))


def test_as_many_are_left_out_as_should_be_and_the_rest_makes_up_for_them() -> None:
    states = TokenDropout(P, 1, keyed(IDS)).train()(torch.ones(*IDS.shape, WIDTH))
    share = (states == 0).float()
    spread = (P * (1 - P)) ** 0.5
    assert share.mean().item() == pytest.approx(P, abs=4 * spread / states.numel() ** 0.5)
    assert share.mean(-1).std().item() == pytest.approx(spread / WIDTH**0.5, rel=0.2)  # of tokens
    assert share.mean((0, 1)).std().item() == pytest.approx(spread / IDS.numel() ** 0.5, rel=0.3)  # of columns
    assert states.unique().tolist() == pytest.approx([0, 1 / (1 - P)])


@pytest.mark.parametrize("other", [{"step": 1}, {"seed": 1}, {"salt": 2}])
def test_steps_seeds_and_layers_leave_out_others_independently(other: dict[str, int]) -> None:
    both = (left_out(IDS) & left_out(IDS, **other)).float().mean().item()
    assert both == pytest.approx(P * P, rel=0.1)


def test_neighbours_are_left_out_independently() -> None:
    out = left_out(IDS).float()
    for one, next_to_it in ((out[:, 1:], out[:, :-1]), (out[..., 1:], out[..., :-1]), (out[1:], out[:-1])):
        assert (one * next_to_it).mean().item() == pytest.approx(P * P, rel=0.1)


def test_a_token_is_treated_alike_in_any_row_behind_any_padding_and_beside_any_other() -> None:
    alone = left_out(IDS[3:4, :20])
    packed = torch.cat([IDS[5, :30], IDS[3, :20]])[None]
    places = torch.cat([torch.arange(30), torch.arange(20)])[None]
    assert left_out(packed, position_ids=places)[:, 30:].equal(alone)
    padded = torch.cat([torch.zeros(1, 7, dtype=torch.long), IDS[3:4, :20]], 1)
    mask = torch.cat([torch.zeros(1, 7, dtype=torch.long), torch.ones(1, 20, dtype=torch.long)], 1)
    assert left_out(padded, attention_mask=mask)[:, 7:].equal(alone)


def test_nothing_is_left_out_when_a_model_is_used() -> None:
    states = torch.ones(*IDS.shape, WIDTH)
    assert TokenDropout(P, 1, keyed(IDS)).eval()(states) is states


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Sft, Dpo, Reward, Orpo])
def test_with_dropout_too_training_in_parts_is_training_whole(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Stage]
) -> None:
    data = tiny.comparisons(tmp_path / "data")
    settings = {"learning_rate": 1e-3, "batch_size": 8, "max_length": 64, "held_out": 0, "lora": {"dropout": 0.3}}
    stage = kind.model_validate(settings)
    whole = tiny.result(stage, tmp_path, "whole", policy=base, data=data)
    monkeypatch.setattr(_run, "fitting_at_once", lambda *_: AtOnce(1, checkpointing=False))
    apart = tiny.result(stage, tmp_path, "apart", policy=base, data=data)
    assert tiny.summary(apart)["tokens_at_once"] < tiny.summary(whole)["tokens_at_once"]
    for metric in ("loss", "grad_norm"):
        assert tiny.curve(apart, metric) == pytest.approx(tiny.curve(whole, metric), rel=1e-4), metric
