"""What each trained arm made, as a folder that PEFT, transformers and the Hugging Face hub read, with a model card."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from datatrial.engine.step import Step
from datatrial.errors import ModelError
from datatrial.export._finished import Finished
from datatrial.foreign.names import visible
from datatrial.hub import HubExternal
from datatrial.models.hub import Hub
from datatrial.policies import copy_tokenizer
from datatrial.records import read_json
from datatrial.steps import ArmRun

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class BaseModel:
    """What an adapter goes on, or what training every weight began with."""

    step: Step
    repo: str | None = None  # on the hub
    revision: str | None = None  # its commit, where known

    @property
    def words(self) -> str:
        """Where to find it, for people."""
        if self.repo:
            return f"`{self.repo}`" + (f" at `{self.revision}`" if self.revision else "")
        if isinstance(self.step.task, Hub):
            called = visible(Path(self.step.task.path).name).replace("`", "'").replace("\n", "\\n")
            return f"a model in a folder of the study's machine, called `{called}`"
        kept = f"`{self.step.task.kind}/{self.step.digest}/weights`"
        return (
            f"a model that the study trained itself; `datatrial run` of the study below makes it as {kept} in its store"
        )


def write(finished: Finished, out: Path) -> None:
    """Writes `adapters/<arm>-seed-<n>/` of every run that was trained; the base model's weights are not copied.

    Of a run that trained every weight they are, as `models/<arm>-seed-<n>/`.
    """
    from datatrial.export.card import card

    for run, _ in finished.runs:
        if run.stages:
            model, base = finished.model(run.policy), base_of(finished, run)
            folder = out / ("adapters" if model.adapter else "models") / finished.folder(run)
            folder.mkdir(parents=True)
            if model.adapter:
                _copy_adapter(Path(model.adapter), base, folder)
                copy_tokenizer(Path(model.weights), folder)
            else:
                shutil.copytree(model.weights, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
            (folder / "README.md").write_text(card(finished, run, base), encoding="utf-8")


def base_of(finished: Finished, run: ArmRun) -> BaseModel:
    """The model that a run's adapter goes on: the run's start, or what that goes on if it is an adapter itself.

    Where a stage on the way trained every weight, it is what that stage made.
    """
    *before, last = [step for _, step in run.stages]
    if finished.model(last).adapter and (whole := [step for step in before if not finished.model(step).adapter]):
        return BaseModel(whole[-1])
    start = run.stages[0][1].inputs["policy"]
    if finished.model(start).adapter:
        start = start.inputs["base"]
    if not isinstance(start.task, Hub) or start.task.is_local:
        return BaseModel(start)
    found = start.externals["weights"]
    return BaseModel(start, start.task.path, found.commit if isinstance(found, HubExternal) else None)


def _copy_adapter(adapter: Path, base: BaseModel, folder: Path) -> None:
    if not (adapter / WEIGHTS).exists():
        raise ModelError(f"{adapter} has no {WEIGHTS}: only adapters in safetensors are exported")
    shutil.copyfile(adapter / WEIGHTS, folder / WEIGHTS)
    # A folder on this machine would mean nothing elsewhere.
    config = {**read_json(adapter / CONFIG), "base_model_name_or_path": base.repo, "revision": base.revision}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
