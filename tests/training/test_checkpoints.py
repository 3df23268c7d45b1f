"""A stage that is killed goes on from its latest checkpoint, and ends as if nothing had happened."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from trl import SFTTrainer

from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.files import fast_digest
from datatrial.records import CheckpointEvery, Resources, Runtime
from datatrial.training._base import Stage
from datatrial.training._checkpoints import latest
from datatrial.training.dpo import Dpo
from datatrial.training.grpo import Grpo
from datatrial.training.kto import Kto
from datatrial.training.orpo import Orpo
from datatrial.training.reward import Reward
from datatrial.training.sft import Sft
from tests import tiny
from tests.engine.tasks import Given
from tests.training.test_parts import short_of_memory

pytestmark = pytest.mark.slow
SETTINGS: dict[str, Any] = {
    "learning_rate": 5e-3,
    "epochs": 25,
    "batch_size": 4,
    "max_length": 64,
    "held_out": 0.25,
    "lora": {"dropout": 0.1},
}


class Killed(BaseException):
    """As a signal would end it: nothing tidies up."""


def killed_at(step: int) -> Any:
    def progress(done: float, _: float, what: str) -> None:
        if what == "training steps" and done == step:
            raise Killed

    return progress


def run(
    stage: Stage,
    out: Path,
    scratch: Path,
    inputs: dict[str, Path],
    progress: Any = lambda *_: None,
    every: CheckpointEvery = CheckpointEvery(steps=1),  # noqa: B008 (it is frozen)
) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    stage.run(inputs, out, Runtime(scratch=scratch, progress=progress, checkpoint_every=every))
    return out


def made(policy: Path) -> bytes:
    """What was trained, to the byte."""
    whole = policy / "weights" / "model.safetensors"
    return whole.read_bytes() if whole.exists() else tiny.adapter_bytes(policy)


@pytest.mark.parametrize(
    ("kind", "quantization"),
    [(Sft, None), (Dpo, None), (Reward, None), (Kto, None), (Orpo, None), (Dpo, "nf4"), (Sft, "every weight")],
)
def test_what_was_killed_ends_bit_for_bit_as_what_was_not(
    wide_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Stage], quantization: str | None
) -> None:
    base = tiny.loaded_as(wide_base, tmp_path, quantization=quantization) if quantization == "nf4" else wide_base
    inputs = {"policy": base, "data": tiny.comparisons(tmp_path / "pairs")}
    changes: dict[str, Any] = {"lora": False, "learning_rate": 5e-4} if quantization == "every weight" else {}
    changes |= {"batch_size": 8} if kind is Kto else {}  # both answers of each count
    # With as many steps as the first has, a point of the curves is the mean over two.
    epochs, kills, last = (12, (35, 36), 54) if (kind, quantization) == (Sft, None) else (4, (11,), 18)
    stage = kind.model_validate({**SETTINGS, "epochs": epochs, **changes})
    whole = run(stage, tmp_path / "a" / "whole", tmp_path / "whole", inputs)
    pieces, scratch = tmp_path / "a" / "pieces", tmp_path / "pieces"
    for step in kills:  # amid what a point of the curves is the mean over, and right after it
        with pytest.raises(Killed):
            run(stage, pieces, scratch, inputs, killed_at(step))
        assert latest(scratch / "trl") == scratch / "trl" / f"checkpoint-{step - 1}"
        assert len(list((scratch / "trl").glob("checkpoint-*"))) <= 2
    seen: list[float] = []
    run(stage, pieces, scratch, inputs, lambda done, _, what: seen.append(done) if what == "training steps" else None)
    assert seen == list(range(kills[-1], last + 1))
    assert made(whole) == made(pieces)
    assert (whole / "history.parquet").read_bytes() == (pieces / "history.parquet").read_bytes()
    assert (whole / "training.json").read_bytes() == (pieces / "training.json").read_bytes()
    steps = pl.read_parquet(pieces / "history.parquet").filter(metric="loss")["step"].to_list()
    assert steps == sorted(set(steps))
    assert (pieces / "runs").is_dir()


@pytest.mark.parametrize("kind", [Sft, Reward])
def test_what_was_killed_when_it_had_trained_and_had_no_result_yet_is_not_trained_again(
    wide_base: Path, tmp_path: Path, kind: type[Stage]
) -> None:
    inputs = {"policy": wide_base, "data": tiny.comparisons(tmp_path / "pairs")}
    stage, scratch = kind.model_validate({**SETTINGS, "epochs": 2}), tmp_path / "scratch"
    whole = run(stage, tmp_path / "a" / "whole", scratch, inputs)
    seen: list[str] = []
    again = run(stage, tmp_path / "a" / "again", scratch, inputs, lambda *told: seen.append(told[2]))
    assert "training steps" not in seen
    assert made(whole) == made(again)
    for name in ("history.parquet", "training.json"):
        assert (whole / name).read_bytes() == (again / name).read_bytes()
    logged = {path.name for path in (whole / "runs").iterdir()}
    assert logged
    assert logged <= {path.name for path in (again / "runs").iterdir()}


def test_what_had_run_out_of_memory_goes_on_with_as_much_at_a_time(
    wide_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = {"policy": wide_base, "data": tiny.demonstrations(tmp_path / "data")}
    stage, out, scratch = (
        Sft.model_validate({**SETTINGS, "epochs": 3, "held_out": 0}),
        tmp_path / "a" / "out",
        tmp_path / "scratch",
    )
    with monkeypatch.context() as short:
        short_of_memory(short, SFTTrainer, 60, calls=1)
        with pytest.raises(Killed):
            run(stage, out, scratch, inputs, killed_at(5))
    run(stage, out, scratch, inputs)
    assert tiny.summary(out)["memory_ran_out"] >= 1
    assert tiny.summary(out)["tokens_at_once"] <= 60


@pytest.mark.parametrize(("lora", "beta"), [({"dropout": 0.1}, 0.1), (False, 0.0)])
def test_answers_that_are_written_on_the_way_are_the_same_after_it(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: Any, beta: float
) -> None:
    """On an adapter, of which GRPO keeps a copy as the reference."""
    rewards = tmp_path / "rewards.py"
    rewards.write_text("def greys(completions, **_):\n    return [text.count('e') for text in completions]\n")
    data = tiny.demonstrations(tmp_path / "d")
    sft = Sft(learning_rate=5e-3, batch_size=4, max_length=64, held_out=0)
    start = tiny.result(sft, tmp_path / "store", "sft", policy=base, data=data)
    inputs = {"policy": start, "data": data, "reward_function": rewards}
    settings = {"reward_function": f"{rewards}:greys", "num_generations": 2, "max_completion_length": 6}
    settings |= {"beta": beta, "lora": lora, "epochs": 2, "learning_rate": 1e-3, "held_out": 0.25}
    stage = Grpo.model_validate({**SETTINGS, **settings})
    whole = run(stage, tmp_path / "a" / "whole", tmp_path / "whole", inputs)
    pieces, scratch = tmp_path / "a" / "pieces", tmp_path / "pieces"
    for step in (3, 6):
        with pytest.raises(Killed):
            run(stage, pieces, scratch, inputs, killed_at(step))
    run(stage, pieces, scratch, inputs)
    assert made(whole) == made(pieces)
    assert (whole / "history.parquet").read_bytes() == (pieces / "history.parquet").read_bytes()
    assert (whole / "training.json").read_bytes() == (pieces / "training.json").read_bytes()


def test_a_checkpoint_that_was_interrupted_itself_is_none(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert latest(tmp_path) is None
    for step in (9, 10):
        checkpoint = tmp_path / f"checkpoint-{step}"
        (checkpoint / "optimizer.pt").write_bytes(b"1234")
        (checkpoint / "standing.json").write_text('{"sharded": ""}')
        sums = {name: fast_digest(checkpoint / name) for name in ("optimizer.pt", "standing.json")}
        (checkpoint / "sums.json").write_text(json.dumps(sums))
    assert latest(tmp_path, "fsdp") is None
    assert latest(tmp_path) == tmp_path / "checkpoint-10"
    (tmp_path / "checkpoint-10" / "optimizer.pt").write_bytes(b"123")  # cut off by a loss of power
    assert latest(tmp_path) == tmp_path / "checkpoint-9"
    (tmp_path / "checkpoint-9" / "sums.json").write_text("")
    assert latest(tmp_path) is None


def test_a_checkpoint_of_which_any_file_rotted_on_the_disk_is_not_gone_on_from(base: Path, tmp_path: Path) -> None:
    inputs = {"policy": base, "data": tiny.demonstrations(tmp_path / "d")}
    with pytest.raises(Killed):
        run(Sft.model_validate(SETTINGS), tmp_path / "a" / "b", tmp_path / "s", inputs, killed_at(3))
    checkpoint = latest(tmp_path / "s" / "trl")
    assert checkpoint
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    assert {"adapter_model.safetensors", "optimizer.pt", "rng_state.pth"} < {path.name for path in files}
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(bytes([*whole[:-1], whole[-1] ^ 1]))
        assert latest(checkpoint.parent) is None
        path.write_bytes(whole)
    assert latest(checkpoint.parent) == checkpoint


def test_no_checkpoint_is_written_before_its_time(base: Path, tmp_path: Path) -> None:
    inputs = {"policy": base, "data": tiny.demonstrations(tmp_path / "d")}
    expectations = (
        (CheckpointEvery(), None),
        (CheckpointEvery(steps=7), "checkpoint-28"),
        (CheckpointEvery(seconds=0.0), "checkpoint-29"),
    )
    for every, expected in expectations:
        with pytest.raises(Killed):
            run(Sft.model_validate(SETTINGS), tmp_path / "a" / "b", tmp_path / "s", inputs, killed_at(30), every)
        found = latest(tmp_path / "s" / "trl")
        assert (found and found.name) == expected


def test_a_stage_goes_on_from_its_checkpoint_in_a_copy_of_the_store_elsewhere(base: Path, tmp_path: Path) -> None:
    inputs = {"policy": Step(Given(base)), "data": Step(Given(tiny.demonstrations(tmp_path / "rows")))}
    often = Resources(checkpoint_every=CheckpointEvery(steps=1))
    step = Step(Sft.model_validate({**SETTINGS, "epochs": 2}), inputs, resources=often)
    store = Store(tmp_path / "store")
    store.open()
    for below in inputs.values():
        store.build(store.work(below), Runtime())
    with pytest.raises(Killed):
        store.build(store.work(step), Runtime(progress=killed_at(6)))
    elsewhere = Store(shutil.copytree(store.root, tmp_path / "another disk" / "store"))
    shutil.rmtree(store.root)
    seen: list[float] = []

    def progress(done: float, _: float, what: str) -> None:
        if what == "training steps":
            seen.append(done)

    elsewhere.build(elsewhere.work(step), Runtime(progress=progress))
    assert seen[0] == 6
    assert elsewhere.has(step)
