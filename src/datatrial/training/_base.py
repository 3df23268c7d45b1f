"""What every training stage is."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from datatrial.component import Family, Settings
from datatrial.prompts import PromptFormat
from datatrial.records import Form, Runtime


class Lora(Settings):
    """LoRA's settings (Hu et al. 2021), named as in PEFT but for its `lora_` prefix."""

    r: int = Field(8, gt=0)
    alpha: float = Field(16, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class Stage(Family):
    """One training run on top of a policy (the base model, or an earlier stage's adapter).

    Reads the inputs `policy` (a result with `model.json`) and `data` (a data set); writes `model.json`, `adapter/`,
    `history.parquet` (step, epoch, metric, value: training curves and held-out loss) and `training.json` (counts).
    """

    folder: ClassVar[str] = "datatrial.training"
    forms: ClassVar[tuple[Form, ...]]  # what data it can be given

    learning_rate: float = Field(gt=0)
    epochs: float = Field(1, gt=0)
    batch_size: int = Field(8, gt=0)  # examples an optimizer step
    max_length: int = Field(1024, gt=1)  # tokens
    prompt: PromptFormat = "question_answer"
    lora: Lora = Lora()
    held_out: float = Field(0.05, ge=0, lt=1)  # share of the examples kept out of training, to measure the loss on
    seed: int = 0  # the order of the data and the initialization of LoRA
    trl: Mapping[str, Any] = Field(default_factory=dict)  # any further setting of TRL's config, by its own name

    @field_validator("trl")
    @classmethod
    def _known_to_trl(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        from datatrial.training._trl_settings import problem_with

        kind = cls.__module__.rpartition(".")[2]
        if problems := [problem for name in settings if (problem := problem_with(name, kind))]:
            raise PydanticCustomError("trl", "{problems}", {"problems": "; ".join(problems)})
        return settings

    @abstractmethod
    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None: ...
