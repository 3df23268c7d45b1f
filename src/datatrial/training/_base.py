"""What every training stage is."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, WrapValidator, field_validator, model_validator
from pydantic_core import PydanticCustomError

from datatrial.component import Component, Family, Settings, not_set
from datatrial.prompts import PromptFormat
from datatrial.records import Form, Runtime
from datatrial.reference_log_probs import ReferenceLogProbs

MOST_HELD_OUT = 1000  # examples: a loss on more of them is hardly surer, and on large data dearer than the training
TRAINING_STEPS = "training steps"  # what a stage counts while it trains
EVALUATIONS = 5  # of the held-out loss: at the start, then at equal distances up to the end
MEASURED_AT_ONCE = 8  # held-out examples, on every device: the loss is a mean over such batches


class Lora(Settings):
    """LoRA's settings (Hu et al. 2021), named as in PEFT but for its `lora_` and `use_`."""

    r: int = Field(8, gt=0)
    alpha: float = Field(16, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    rslora: bool = Field(False, exclude_if=not_set)  # scaled by alpha / √r, not alpha / r (Kalajdzievski 2023)
    dora: bool = Field(False, exclude_if=not_set)  # lengths of weights trained apart (Liu et al. 2024)


def _lora_or_all(value: Any, _: Any) -> "Lora | Literal[False]":
    # Not null: in a study that extends another one, null takes the key out, and the default is a LoRA.
    if value is None:
        raise PydanticCustomError("lora", "should be settings of LoRA, or false to train every weight")
    return False if value is False else Lora.model_validate(value)


LoraOrAll = Annotated[Lora | Literal[False], WrapValidator(_lora_or_all)]
"""A LoRA to train, or `false`: every weight of the model is trained."""


class Budget(Settings):
    """How long to train, by one of three counts, so that arms with other data are trained equally long.

    Data are gone through as often as it takes, every time in another order; the last time may end anywhere.
    """

    steps: int | None = Field(None, gt=0, exclude_if=not_set)  # optimizer steps, each of a whole batch
    examples: int | None = Field(None, gt=0, exclude_if=not_set)  # exactly so many; the last batch may be smaller
    # Tokens that go through the policy: prompts and answers, no padding; of a comparison, the prompt counts with each
    # of its answers. Training ends with the first whole batch that reaches the number.
    tokens: int | None = Field(None, gt=0, exclude_if=not_set)

    @model_validator(mode="after")
    def _one_count(self) -> Self:
        if sum(count is not None for count in (self.steps, self.examples, self.tokens)) != 1:
            raise PydanticCustomError("budget", "should give one of steps, examples, tokens")
        return self


def _some_of_each(tuning: Mapping[str, tuple[float, ...]]) -> Mapping[str, tuple[float, ...]]:
    for name, values in tuning.items():
        if len(set(values)) < max(2, len(values)):
            what = f"should give two values or more of {name}, each once"
            raise PydanticCustomError("tune", "{what}", {"what": what})
        if name == "batch_size" and any(value != int(value) for value in values):
            raise PydanticCustomError("tune", "a batch_size should be a whole number")
    return {name: tuple(map(int, values)) if name == "batch_size" else values for name, values in tuning.items()}


# Those whose every value leaves the loss what it is: with another beta, a lower loss says nothing.
Tunable = Literal["learning_rate", "epochs", "batch_size"]
Tuning = Annotated[
    Mapping[Tunable, tuple[Annotated[float, Field(gt=0)], ...]], Field(min_length=1), AfterValidator(_some_of_each)
]


class Stage(Family):
    """One training run on top of a policy (the base model, or what an earlier stage made of it).

    Reads the inputs `policy` (a result with `model.json`) and `data` (a data set); writes `model.json`, `adapter/` (or
    `weights/`, where it trains them all), `history.parquet` (step, epoch, metric, value: training curves and held-out
    loss), `training.json` (counts), and `runs/` (the curves as TensorBoard reads them, while they are made;
    `trl: {report_to: …}` sends them elsewhere).
    """

    folder: ClassVar[str] = "datatrial.training"
    forms: ClassVar[tuple[Form, ...]]  # what data it can be given
    has_reference: ClassVar[bool] = False  # whether a frozen policy beside the one that is trained sees every example
    texts: ClassVar[int] = 1  # of an example
    examples_of_a_row: ClassVar[int] = 1
    goes_in_parts: ClassVar[bool] = True  # whether batches are gone through in parts of ours
    tells_by_loss: ClassVar[bool] = True  # whether a lower loss on held-out examples is better
    learns_tokens: ClassVar[bool] = True  # by the policy's own head; else a new head gives each sequence one number

    learning_rate: float = Field(gt=0)
    epochs: float = Field(1, gt=0)
    budget: Budget | None = Field(None, exclude_if=not_set)  # instead of `epochs`
    # Examples an optimizer step, on whatever device (a recipe's "4 × 2" is 8). What goes through the model at a time is
    # a part that fits its memory; the parts' gradients add up to that of the batch, as if it had gone through at once.
    batch_size: int = Field(8, gt=0)
    max_length: int = Field(1024, gt=1)  # tokens
    prompt: PromptFormat = "question_answer"
    lora: LoraOrAll = Lora()
    # Share of the examples kept out of training to measure the loss on; at most `MOST_HELD_OUT` of them.
    held_out: float = Field(0.05, ge=0, lt=1)
    seed: int = 0  # the order of the data and, unless `init_seed` is given, the initialization of LoRA and dropout
    init_seed: int | None = Field(None, exclude_if=not_set)
    trl: Mapping[str, Any] = Field(default_factory=dict)  # any further setting of TRL's config, by its own name

    # Settings to pick by the loss on held-out examples, as {learning_rate: [1e-4, 3e-4]}; every combination is tried.
    tune: Tuning | None = Field(None, exclude_if=not_set)

    @field_validator("trl")
    @classmethod
    def _known_to_trl(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        from datatrial.training._trl_settings import problem_with

        kind = cls.__module__.rpartition(".")[2]
        if problems := [problem for name, value in settings.items() if (problem := problem_with(name, value, kind))]:
            raise PydanticCustomError("trl", "{problems}", {"problems": "; ".join(problems)})
        return settings

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.budget is not None and "epochs" in self.model_fields_set:
            raise PydanticCustomError("budget", "should have either epochs or a budget")
        return self

    @model_validator(mode="after")
    def _can_be_told_by_loss(self) -> Self:
        if self.tune and (not self.tells_by_loss or not self.held_out):
            why = "held_out is 0" if self.tells_by_loss else "its loss on held-out examples says nothing"
            raise PydanticCustomError("tune", "nothing can be picked: {why}", {"why": why})
        if self.tune and self.budget is not None and "epochs" in self.tune:
            raise PydanticCustomError("tune", "nothing can be picked: a budget takes the place of epochs")
        return self

    @property
    def candidates(self) -> list[dict[str, float]]:
        """Every combination of the settings to pick from."""
        tune = self.tune or {}
        return [dict(zip(tune, values, strict=True)) for values in product(*tune.values())] if tune else []

    def with_settings(self, settings: Mapping[str, float]) -> Self:
        """The same stage with other settings and nothing to pick."""
        whole = {name: int(value) if name == "batch_size" else value for name, value in settings.items()}
        return self.model_copy(update={**whole, "tune": None})

    def identity(self) -> dict[str, Any]:
        from datatrial.training._trl_settings import TRACKING

        identity = super().identity()
        return {**identity, "trl": {name: value for name, value in identity["trl"].items() if name not in TRACKING}}

    def held_out_of(self, examples: float) -> int:
        """How many of so many examples are held out."""
        return min(round(self.held_out * examples), MOST_HELD_OUT)

    @property
    def initialization(self) -> int:
        """The seed of LoRA's initialization and of dropout."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def packs(self) -> bool:
        """Whether examples are put end to end into rows of `max_length` tokens."""
        return False

    @property
    def learns_prompts(self) -> bool:
        """Whether the loss is over every token, and not over those of answers alone."""
        return False

    def longest_prompt(self, max_length: int) -> int | None:
        """Tokens of a prompt, of which a longer one loses its start, where an example has so many; None: any."""
        return None

    def reads_beforehand(self) -> Mapping[str, Component]:
        """What is made of the same policy and data for this to read, under the name `run` finds each result by."""
        return {}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Train, in several processes where the study launches them and batches are ours to share."""
        if runtime.launch is None or not self.goes_in_parts:
            return self.train(inputs, out, replace(runtime, launch=None))
        from datatrial.training._launch import train_in_processes

        return train_in_processes(self, inputs, out, runtime)

    @abstractmethod
    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Train in this process, alone or as one of several that share each batch."""


class ComparisonStage(Stage):
    """A stage that learns from comparisons."""

    forms: ClassVar[tuple[Form, ...]] = ("comparisons",)
    texts: ClassVar[int] = 2

    # Tokens. A longer prompt loses its start (but for the token that begins every text), so that the last turns and the
    # answers stay whole; what then is longer than `max_length` loses its end.
    max_prompt_length: int | None = Field(None, gt=0, exclude_if=not_set)

    def longest_prompt(self, max_length: int) -> int | None:
        return self.max_prompt_length

    def reads_beforehand(self) -> Mapping[str, Component]:
        """What the reference says of all rows; a stage that may see but few of them asks for those itself."""
        if not self.has_reference or self.budget is not None or self.epochs < 1:
            return {}
        return {
            "reference": ReferenceLogProbs(
                prompt=self.prompt, max_length=self.max_length, max_prompt_length=self.max_prompt_length
            )
        }

    @model_validator(mode="after")
    def _room_for_answers(self) -> Self:
        if self.max_prompt_length is not None and self.max_prompt_length >= self.max_length:
            raise PydanticCustomError("length", "max_prompt_length should be below max_length")
        return self
