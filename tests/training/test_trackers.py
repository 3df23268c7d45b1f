"""Where training curves go while they are made."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.records import Runtime
from datatrial.training.dpo import Dpo
from datatrial.training.sft import Sft
from tests import tiny

SFT = Sft(learning_rate=5e-3, epochs=1, batch_size=4, max_length=64, held_out=0.25)


def scalars(runs: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(runs))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.slow
def test_tensorboard_reads_the_curves_of_a_stage(base: Path, tmp_path: Path) -> None:
    policy = tiny.result(SFT, tmp_path, "a", policy=base, data=tiny.demonstrations(tmp_path / "data"))
    found = scalars(policy / "runs")
    for tag, metric in (("train/loss", "loss"), ("eval/loss", "eval_loss")):
        assert [value for _, value in found[tag]] == pytest.approx(tiny.curve(policy, metric))
    assert found["train/loss"][-1][0] == tiny.summary(policy)["steps"]
    assert not (policy / "trl").exists()


@pytest.mark.slow
def test_where_curves_go_changes_nothing_of_the_adapter_or_its_identity(base: Path, tmp_path: Path) -> None:
    data, silent = tiny.demonstrations(tmp_path / "data"), SFT.model_copy(update={"trl": {"report_to": "none"}})
    told, untold = (
        tiny.result(stage, tmp_path, name, policy=base, data=data) for name, stage in (("a", SFT), ("b", silent))
    )
    assert not (untold / "runs").exists()
    assert tiny.adapter_bytes(told) == tiny.adapter_bytes(untold)
    assert silent.identity() == SFT.identity()
    assert Sft(trl={"report_to": "none", "weight_decay": 0.1}).identity()["trl"] == {"weight_decay": 0.1}


@pytest.mark.slow
def test_the_record_has_no_checksums_of_files_with_times_in_them(base: Path, tmp_path: Path) -> None:
    class Trained:
        kind = "sft"

        def identity(self) -> dict[str, str]:
            return {"kind": "sft"}

        def run(self, inputs: dict[str, Path], out: Path, runtime: Runtime) -> None:
            SFT.run({"policy": base, "data": tiny.demonstrations(tmp_path / "data")}, out, runtime)

    store, step = Store(tmp_path / "store"), Step(Trained())
    store.open()
    assert list((store.build(store.work(step), Runtime()) / "runs").iterdir())
    assert {name.partition("/")[0] for name in store.record(step)["files"]} == {
        "adapter", "history.parquet", "model.json", "training.json"
    }  # fmt: skip


@pytest.mark.parametrize("asked", ["wandb", ["tensorboard", "wandb"]])
def test_a_tracker_that_is_not_installed_is_refused_with_what_to_install(
    asked: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else find(name, *rest))
    with pytest.raises(ValidationError, match=r"report_to: wandb is not installed; `pip install wandb`"):
        Dpo.model_validate({"trl": {"report_to": asked}})


@pytest.mark.parametrize("asked", ["all", None, {"to": "wandb"}, ["none", "tensorboard"]])
def test_what_is_no_tracker_is_refused_with_those_there_are(asked: object) -> None:
    with pytest.raises(
        ValidationError, match=r"TRL cannot report to .*; (known: .*clearml, mlflow|did you mean 'none')"
    ):
        Sft.model_validate({"trl": {"report_to": asked}})


def test_every_tracker_is_one_of_trls() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    from datatrial.training._trl_settings import TRACKERS, TRACKING, known_settings

    assert TRACKERS.keys() <= INTEGRATION_TO_CALLBACK.keys()
    assert set(known_settings("sft")) >= TRACKING
