"""A benchmark's result that lm-eval logged elsewhere, as a step: its identity is the content of the files."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from datatrial.component import Component
from datatrial.records import LocalFiles, Needs, Runtime

ASKED = "asked.parquet"  # of each item: its name, and digests of its document, prompt, target and requests
SETTINGS = "settings.json"  # of each task: how it was asked and scored


class Imported(Component):
    """Writes what `LmEval` writes (but for the counts of tokens, which are not logged), and how it was asked.

    Reads samples and results files of lm-eval, each under its own name.
    """

    benchmark: str  # a task, or a group of tasks
    tasks: tuple[str, ...] = Field(min_length=1)
    metric: str | None = None  # what arms are compared by; by default acc_norm where there is one, else the first
    files: tuple[Path, ...] = Field(exclude=True)  # their contents count, and are inputs

    def needs(self) -> Mapping[str, Needs]:
        return {file.name: LocalFiles(file) for file in self.files}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Raises: DataError naming the file and the line that cannot be used."""
        import polars as pl

        from datatrial.evaluation import _logged, _summary
        from datatrial.evaluation._tasks import Group, Leaf, Tasks

        found = _logged.read(self.benchmark, self.tasks, [inputs[file.name] for file in self.files])
        leaves = tuple(Leaf(task, Path(), {}, found.settings[task]) for task in self.tasks)
        members = leaves if self.tasks == (self.benchmark,) else (Group(self.benchmark, {}, leaves),)
        _summary.write(
            out,
            Tasks(self.benchmark, members),
            found.items,
            found.outcome,
            _summary.Endpoint(self.metric, ("acc_norm",)),
        )
        pl.DataFrame(found.asked).write_parquet(out / ASKED)
        (out / SETTINGS).write_text(json.dumps(found.settings, indent=2, ensure_ascii=False))
