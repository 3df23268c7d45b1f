"""A stage with the best of several settings."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datatrial.component import Component
from datatrial.errors import ModelError
from datatrial.records import Runtime, read_json
from datatrial.training._base import Stage

CANDIDATE = "candidate-{}"  # the input with a candidate's result


class Tuned(Component):
    """Reads and writes what the stage does, and `candidate-0`, `candidate-1`, …: results with each of the `settings`.

    That with the lowest loss on the held-out examples at the end is picked, of equal ones the first. The candidates are
    trained with the study's first seed: with that one, the candidate's result is this one's; with others, the stage is
    trained with what was picked. `training.json` says what under `picked`.
    """

    stage: Stage
    settings: tuple[Mapping[str, float], ...]
    first_seed: bool

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "stage": self.stage.identity()}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        folders = [inputs[CANDIDATE.format(number)] for number in range(len(self.settings))]
        losses = [read_json(folder / "training.json")["held_out_loss_last"] for folder in folders]
        best = picked(losses, self.settings)
        if self.first_seed:
            made = shutil.ignore_patterns("record.json")
            shutil.copytree(folders[best], out, ignore=made, copy_function=shutil.copyfile, dirs_exist_ok=True)
        else:
            candidates = {CANDIDATE.format(number) for number in range(len(self.settings))}
            own = {name: path for name, path in inputs.items() if name not in candidates}
            self.stage.with_settings(self.settings[best]).run(own, out, runtime)
        told = {"settings": self.settings[best], "candidates": self.settings, "held_out_losses": losses}
        told["took"] = took(folders)
        summary = {**read_json(out / "training.json"), "picked": told}
        (out / "training.json").write_text(json.dumps(summary, indent=2))


def took(candidates: Sequence[Path]) -> dict[str, float]:
    """What it took to train the candidates: seconds, and tokens trained on."""
    records = [read_json(file) for folder in candidates if (file := folder / "record.json").exists()]
    tokens = [read_json(folder / "training.json").get("tokens_seen") or 0 for folder in candidates]
    return {"seconds": sum(record.get("seconds") or 0.0 for record in records), "tokens": sum(tokens)}


def picked(losses: Sequence[float | None], settings: Sequence[Mapping[str, Any]]) -> int:
    """The place of the lowest loss, of equal ones the first; None is that of a candidate that diverged.

    Raises: ModelError when all of them diverged.
    """
    found = [math.inf if loss is None or math.isnan(loss) else loss for loss in losses]
    if min(found) == math.inf:
        tried = ", ".join(f"{name} {value:g}" for one in settings for name, value in one.items())
        raise ModelError(f"training diverged with each of the settings to pick from ({tried}): try lower ones")
    return found.index(min(found))
