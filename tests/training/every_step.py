"""A stage that writes a checkpoint with each step, in whatever process it trains."""

from collections.abc import Mapping
from pathlib import Path

from datatrial.records import Runtime
from datatrial.training.dpo import Dpo


class SavedEveryStep(Dpo):
    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from datatrial.training import _checkpoints

        before, _checkpoints.SECONDS = _checkpoints.SECONDS, 0.0
        try:
            super().train(inputs, out, runtime)
        finally:
            _checkpoints.SECONDS = before
