"""A stage with one of the settings to pick from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datatrial.component import Component
from datatrial.errors import DivergedError
from datatrial.records import Runtime
from datatrial.training._base import Stage


class Candidate(Component):
    """Reads and writes what the stage does. One that diverges is a result, too: it has no held-out loss."""

    stage: Stage

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "stage": self.stage.identity()}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        try:
            self.stage.run(inputs, out, runtime)
        except DivergedError as error:
            summary = {"held_out_loss_last": None, "diverged": str(error)}
            (out / "training.json").write_text(json.dumps(summary, indent=2))
