"""One stage in two processes: the same losses as one at the same batch."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from datatrial.errors import ModelError
from datatrial.records import Launch, Runtime
from datatrial.training import _parts
from datatrial.training._base import Stage
from datatrial.training.dpo import Dpo
from datatrial.training.sft import Sft
from tests import tiny

SETTINGS: dict[str, Any] = {"learning_rate": 5e-3, "batch_size": 4, "max_length": 64, "held_out": 0.25, "epochs": 2}


def in_two(stage: Stage, out: Path, scratch: Path, progress: Any = lambda *_: None, **inputs: Path) -> Path:
    for folder in (out, scratch):
        folder.mkdir(parents=True)
    stage.run(inputs, out, Runtime(scratch=scratch, launch=Launch(2), progress=progress))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Sft, Dpo])
def test_two_processes_train_as_one_does(base: Path, tmp_path: Path, kind: type[Stage]) -> None:
    """18 examples in batches of 4: at the end, each process has one."""
    stage = kind.model_validate(SETTINGS)
    rows = tiny.comparisons(tmp_path / "data")
    one = tiny.result(stage, tmp_path, "one", policy=base, data=rows)
    seen: list[tuple[float, float, str]] = []
    two = in_two(stage, tmp_path / "a" / "two", tmp_path / "s", lambda *told: seen.append(told), policy=base, data=rows)
    for metric in ("loss", "eval_loss", "num_tokens", "grad_norm"):
        assert tiny.curve(two, metric) == pytest.approx(tiny.curve(one, metric), rel=1e-3), metric
    ours, theirs = (load_file(policy / "adapter" / "adapter_model.safetensors") for policy in (one, two))
    steps = tiny.summary(one)["steps"]
    assert all((ours[name] - theirs[name]).abs().mean() < 0.02 * steps * stage.learning_rate for name in ours)
    assert "training steps" in {what for _, _, what in seen}
    assert {path.name for path in two.iterdir()} == tiny.TRAINED


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_said(base: Path, tmp_path: Path) -> None:
    stage = Sft.model_validate({**SETTINGS, "learning_rate": 1e30})
    data = tiny.demonstrations(tmp_path / "data")
    with pytest.raises(ModelError, match="the loss is no number at step"):
        in_two(stage, tmp_path / "a" / "two", tmp_path / "s", policy=base, data=data)


def test_every_process_has_as_many_parts_where_there_are_enough_rows() -> None:
    rows = [{"n": n} for n in range(5)]
    assert [len(part) for part in _parts.for_all(2, [rows])] == [2, 3]
    assert [len(part) for part in _parts.for_all(2, [rows[:3], rows[3:4], rows[4:]])] == [1, 2, 1, 1]
    assert [len(part) for part in _parts.for_all(2, [rows[:1]])] == [1]
    assert [len(part) for part in _parts.for_all(1, [rows])] == [5]
