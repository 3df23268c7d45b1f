"""Checkpoints of a running stage: what was interrupted goes on as if it had not been."""

import json
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from datatrial.files import fast_digest, settle, write_at_once
from datatrial.records import CheckpointEvery, read_json
from datatrial.training._sharded import sharded_as

_STANDING = "standing.json"
_SUMS = "sums.json"  # of every other file; written last: a checkpoint without it was interrupted itself


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
            standing = read_json(self.found / _STANDING)
            unlogged = standing["unlogged"][self.trainer.args.process_index % len(standing["unlogged"])]
            self.trainer._metrics["train"].update(unlogged["metrics"])
            self.trainer._tr_loss += unlogged["loss"]
            self.trainer._total_train_tokens = standing["tokens"]
            self.trainer._globalstep_last_logged = standing["last_logged"]
            self.trainer.tokens_at_once = min(standing["at_once"], self.trainer.tokens_at_once)
            self.trainer.halved = standing["halved"]

    def on_step_end(self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        due = [self.every.is_due(state.global_step, time.monotonic() - self.saved)]
        control.should_save = broadcast_object_list(due)[0]  # all processes, or none

    def on_save(self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any) -> None:
        # Of each process its own: the curves' next point is a mean over all of them, to the last bit.
        unlogged = {"metrics": dict(self.trainer._metrics["train"]), "loss": self.trainer._tr_loss.item()}
        standing = {
            "unlogged": gather_object([unlogged]),
            "tokens": self.trainer._total_train_tokens,
            "last_logged": self.trainer._globalstep_last_logged,
            "at_once": self.trainer.tokens_at_once,
            "halved": self.trainer.halved,
            "sharded": self.sharded,
        }
        self.saved = time.monotonic()
        if not self.trainer.is_world_process_zero():
            return
        now = self.folder / f"checkpoint-{state.global_step}"
        write_at_once(now / _STANDING, json.dumps(standing))
        settle(now)
        write_at_once(now / _SUMS, json.dumps(_sums(now)))
        settle(now)  # before the older ones go
        for older in self.folder.glob("checkpoint-*"):
            if older != now:
                shutil.rmtree(older)


def latest(folder: Path, sharded: str = "") -> Path | None:
    """The latest complete checkpoint in a folder that processes which shard a model like this can read."""
    found = sorted(folder.glob(f"checkpoint-*/{_SUMS}"), key=lambda path: -int(path.parent.name.rpartition("-")[2]))
    return next((path.parent for path in found if _can_be_read(path.parent, sharded)), None)


def _can_be_read(checkpoint: Path, sharded: str) -> bool:
    with suppress(ValueError):
        if read_json(checkpoint / _SUMS) == _sums(checkpoint):
            return bool(read_json(checkpoint / _STANDING)["sharded"] == sharded)
    print(f"{checkpoint.name} is damaged and not gone on from", flush=True)  # in the step's log
    return False


def _sums(checkpoint: Path) -> dict[str, str]:
    """Of its files: one that a loss of power cut off, or that rotted on the disk, has others."""
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != _SUMS]
    return {path.relative_to(checkpoint).as_posix(): fast_digest(path) for path in files}
