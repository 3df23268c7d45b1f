"""What every training stage is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from datatrial.component import Family
from datatrial.prompts import PromptFormat
from datatrial.records import Form, Runtime


class Lora(BaseModel):
    """LoRA's settings (Hu et al. 2021), named as in PEFT but for its `lora_` prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        raise NotImplementedError
