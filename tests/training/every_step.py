"""A stage that writes a checkpoint with each step, in whatever process it trains."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from datatrial.records import CheckpointEvery, Runtime
from datatrial.training.dpo import Dpo


class SavedEveryStep(Dpo):
    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        super().train(inputs, out, replace(runtime, checkpoint_every=CheckpointEvery(steps=1)))
