"""Each trained arm's LoRA adapter as a folder that PEFT and the Hugging Face hub read, with a model card."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from datatrial.engine.step import Step
from datatrial.errors import ModelError
from datatrial.export._finished import Finished, folder_of
from datatrial.hub import HubExternal
from datatrial.models.hub import Hub
from datatrial.records import read_json
from datatrial.steps import ArmRun

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "spiece.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


@dataclass(frozen=True)
class BaseModel:
    """What an adapter goes on."""

    step: Step
    repo: str | None = None  # on the hub
    revision: str | None = None  # its commit, where known

    @property
    def words(self) -> str:
        """Where to find it, for people."""
        if self.repo:
            return f"`{self.repo}`" + (f" at `{self.revision}`" if self.revision else "")
        if isinstance(self.step.task, Hub):
            return f"a model in a folder of the study's machine, called `{Path(self.step.task.path).name}`"
        kept = f"`{self.step.task.kind}/{self.step.digest}/weights`"
        return (
            f"a model that the study trained itself; `datatrial run` of the study below makes it as {kept} in its store"
        )


def write(finished: Finished, out: Path) -> None:
    """Writes `adapters/<arm>-seed-<n>/` of every run that was trained; the base model's weights are not copied."""
    from datatrial.export.card import card

    for run, _ in finished.runs:
        if run.stages:
            folder = out / "adapters" / folder_of(run)
            folder.mkdir(parents=True)
            base = base_of(finished, run)
            _copy(finished, run, base, folder)
            (folder / "README.md").write_text(card(finished, run, base), encoding="utf-8")


def base_of(finished: Finished, run: ArmRun) -> BaseModel:
    """The model that the first adapter of a run went on; where the run starts from an adapter, what that goes on."""
    start = run.stages[0][1].inputs["policy"]
    if finished.model(start).adapter:
        start = start.inputs["base"]
    if not isinstance(start.task, Hub) or start.task.is_local:
        return BaseModel(start)
    found = start.externals["weights"]
    return BaseModel(start, start.task.path, found.commit if isinstance(found, HubExternal) else None)


def _copy(finished: Finished, run: ArmRun, base: BaseModel, folder: Path) -> None:
    model = finished.model(run.policy)
    assert model.adapter is not None
    adapter = Path(model.adapter)
    if not (adapter / WEIGHTS).exists():
        raise ModelError(f"{adapter} has no {WEIGHTS}: only adapters in safetensors are exported")
    shutil.copyfile(adapter / WEIGHTS, folder / WEIGHTS)
    # A folder on this machine would mean nothing elsewhere.
    config = {**read_json(adapter / CONFIG), "base_model_name_or_path": base.repo, "revision": base.revision}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    for name in TOKENIZER:
        if (file := Path(model.weights) / name).exists():
            shutil.copyfile(file, folder / name)
