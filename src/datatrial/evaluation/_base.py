"""What every kind of benchmark is."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datatrial.component import Family
from datatrial.records import Form, Runtime


class Benchmark(Family):
    """Scores a policy item by item.

    Reads the input `policy` (a result with `model.json`), and `data` where it names a data set. Writes
    `scores.parquet` (one row per item and metric) and `summary.json` (the metrics as their own definition gives them).
    """

    folder: ClassVar[str] = "datatrial.evaluation"
    forms: ClassVar[tuple[Form, ...]] = ()  # what data it can be given

    name: str = Field("", exclude=True)  # what the study calls it; a label
    data: str | None = Field(None, exclude=True)  # a data set of the study; its content counts, not its name

    @property
    def title(self) -> str:
        """The benchmark's name in tables: the study's, or one that follows from its settings."""
        return self.name or self.kind

    @abstractmethod
    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None: ...
