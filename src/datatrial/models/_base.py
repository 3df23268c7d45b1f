"""What every base model is."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from datatrial.component import Family
from datatrial.records import Runtime

Dtype = Literal["float32", "bfloat16", "float16"]


class Model(Family):
    """A base model; running it writes `model.json` (a ModelRef), and the weights where they were made here."""

    folder: ClassVar[str] = "datatrial.models"
    dtype: Dtype = "float32"

    @property
    def corpus_names(self) -> tuple[str, ...]:
        """Data sets of the study that this model is trained on; they come as the inputs `corpus-0`, `corpus-1`, …"""
        return ()

    @abstractmethod
    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None: ...
