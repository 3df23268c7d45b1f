"""A stage that writes a checkpoint with each step, in whatever process it trains, and that can be held up."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from datatrial.records import CheckpointEvery, Runtime
from datatrial.training.dpo import Dpo

HOLD = "hold"  # while this file is in a step's scratch, its training stays at the third step


class SavedEveryStep(Dpo):
    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        hold = (runtime.scratch or out) / HOLD

        def progress(done: float, total: float, what: str) -> None:
            runtime.progress(done, total, what)
            while what == "training steps" and done >= 3 and hold.exists():
                time.sleep(0.05)
                runtime.progress(done, total, what)

        super().train(inputs, out, replace(runtime, checkpoint_every=CheckpointEvery(steps=1), progress=progress))
