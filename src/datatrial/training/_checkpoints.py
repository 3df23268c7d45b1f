"""Checkpoints of a running stage: what was interrupted goes on as if it had not been."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from datatrial.files import settle, write_at_once
from datatrial.records import CheckpointEvery, read_json
from datatrial.training._sharded import sharded_as

_UNLOGGED = "unlogged.json"  # written last: a checkpoint without it was interrupted itself


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Has a trainer save where it stands every so often, and keeps the latest checkpoint only.

    transformers saves and restores weights, optimizer, schedule, random numbers and the curves so far. What was
    measured since the curves' last point is added here, as the next point is the mean over it; so is how much goes
    through the model at a time, which may have been halved.
    """

    def __init__(self, trainer: Trainer, every: CheckpointEvery):
        self.trainer = trainer
        self.every = every
        self.folder = Path(trainer.args.output_dir)
        self.sharded = sharded_as(trainer)
        self.found = latest(self.folder, self.sharded)
        self.saved = time.monotonic()

    def on_train_begin(
        self, _args: TrainingArguments, _state: TrainerState, _control: TrainerControl, **_: Any
    ) -> None:
        if self.found:
            print(f"going on from {self.found.name}", flush=True)  # in the step's log
            unlogged = read_json(self.found / _UNLOGGED)
            self.trainer._metrics["train"].update(unlogged["metrics"])
            self.trainer._total_train_tokens = unlogged["tokens"]
            self.trainer._globalstep_last_logged = unlogged["last_logged"]
            self.trainer._tr_loss += unlogged["loss"]
            self.trainer.tokens_at_once = min(unlogged["at_once"], self.trainer.tokens_at_once)
            self.trainer.halved = unlogged["halved"]

    def on_step_end(self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.every.steps:
            control.should_save = state.global_step % self.every.steps == 0
        else:
            due = [time.monotonic() - self.saved >= self.every.seconds]
            control.should_save = broadcast_object_list(due)[0]  # all processes, or none

    def on_save(self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any) -> None:
        unlogged = {
            "metrics": dict(self.trainer._metrics["train"]),
            "tokens": self.trainer._total_train_tokens,
            "last_logged": self.trainer._globalstep_last_logged,
            "at_once": self.trainer.tokens_at_once,
            "halved": self.trainer.halved,
            "sharded": self.sharded,
            "loss": self.trainer.accelerator.gather(self.trainer._tr_loss).mean().item(),
        }
        self.saved = time.monotonic()
        if not self.trainer.is_world_process_zero():
            return
        now = self.folder / f"checkpoint-{state.global_step}"
        settle(now)
        write_at_once(now / _UNLOGGED, json.dumps({**unlogged, "files": _sizes(now)}))
        for older in self.folder.glob("checkpoint-*"):
            if older != now:
                shutil.rmtree(older)


def latest(folder: Path, sharded: str = "") -> Path | None:
    """The latest complete checkpoint in a folder that processes which shard a model like this can read."""
    ours = [path.parent for path in folder.glob(f"checkpoint-*/{_UNLOGGED}") if _can_be_read(path, sharded)]
    return max(ours, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _can_be_read(unlogged: Path, sharded: str) -> bool:
    try:
        said = read_json(unlogged)
    except ValueError:
        return False
    sizes = _sizes(unlogged.parent)
    return said["sharded"] == sharded and all(sizes.get(name) == size for name, size in said["files"].items())


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of the files of a checkpoint: one that a loss of power cut off has others."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != _UNLOGGED)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
