"""What crosses folders: the shapes of rows, models, scores and contrasts, and what a running step is given.

A data set is a Parquet file of rows in one of five forms (`FORMS`); scores and contrasts are Parquet files too.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

Role = Literal["system", "user", "assistant"]


class Message(TypedDict):
    """One turn of a conversation."""

    role: Role
    content: str


class Demonstration(TypedDict):
    """A conversation whose last turn is the answer to learn (SFT)."""

    messages: list[Message]


class Comparison(TypedDict):
    """A conversation up to the user's last turn, with a better and a worse answer to it (reward, DPO)."""

    messages: list[Message]
    chosen: str
    rejected: str


class Document(TypedDict):
    """Running text, to train a base model on."""

    text: str


class Question(TypedDict):
    """A multiple-choice question; `answer` is the index of the right choice."""

    question: str
    choices: list[str]
    answer: int


class Statement(TypedDict):
    """A sentence about demographic groups; `toxicity` in 1–5 (SafeNLP's scale), a row counts for each of its groups."""

    text: str
    harmful: bool
    toxicity: float
    groups: list[str]


Form = Literal["demonstrations", "comparisons", "documents", "questions", "statements"]
FORMS: Mapping[Form, type] = {
    "demonstrations": Demonstration,
    "comparisons": Comparison,
    "documents": Document,
    "questions": Question,
    "statements": Statement,
}


@dataclass(frozen=True)
class Drop:
    """Rows that were left out, with the reason and a few of them (as JSON texts)."""

    reason: str
    rows: int
    sample: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DataCard:
    """What is known of a data set: where it is from and what was left out of it."""

    form: Form
    rows: int
    drops: list[Drop] = field(default_factory=list)
    licence: str = "not stated"
    answers_by: str = "not stated"  # human, LLM, program
    labels_by: str = "not stated"  # who said which answer is better
    about: str = ""
    origin: str = ""  # hub repository or kind of file


@dataclass(frozen=True)
class ModelRef:
    """A model on disk: a folder of weights and, if it was fine-tuned here, a LoRA adapter on top.

    Written as `model.json` into every result that is a model; paths inside the store are relative to that result.
    """

    weights: str
    adapter: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def write(self, out: Path) -> None:
        (out / "model.json").write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, result: Path) -> "ModelRef":
        """The model of a result, with absolute paths."""
        ref = cls(**json.loads((result / "model.json").read_text()))
        adapter = os.path.normpath(result / ref.adapter) if ref.adapter else None
        return cls(os.path.normpath(result / ref.weights), adapter, ref.dtype)

    def relative_to(self, out: Path) -> "ModelRef":
        """The same model as seen from a result folder; anything outside that folder's store stays absolute."""
        store = out.parent.parent

        def seen(path: str) -> str:
            return os.path.relpath(path, out) if Path(path).is_relative_to(store) else path

        return ModelRef(seen(self.weights), seen(self.adapter) if self.adapter else None, self.dtype)


@dataclass(frozen=True)
class LocalFiles:
    """A file or folder that a step reads; identified by its content."""

    path: Path


@dataclass(frozen=True)
class HubFiles:
    """Files of a hub repository; identified by the commit, or by their content when read from `hub_root`."""

    repo: str
    type: Literal["dataset", "model"] = "dataset"
    revision: str = "main"
    patterns: tuple[str, ...] = ("*",)  # as huggingface_hub's allow_patterns
    gated: str = ""  # what to accept, and where, when access is refused


Needs = LocalFiles | HubFiles


def _silent(done: float, total: float, what: str) -> None:
    pass


@dataclass(frozen=True)
class Runtime:
    """Where and how a step runs. Never part of what its result is."""

    device: str = "cpu"
    progress: Callable[[float, float, str], None] = _silent  # done, total, what is counted
    cache: Path = Path(".datatrial/cache")  # scratch that outlives the step and may be deleted at any time


@dataclass(frozen=True)
class EvaluationRun:
    """One benchmark's result for one model of an arm; `input` names the result among a step's inputs."""

    arm: str
    seed: int | None  # None: a model that no seed changes, such as the baseline
    benchmark: str  # its title
    input: str


@dataclass(frozen=True)
class ArmScore:
    """One arm's score on one endpoint and metric: the mean over its seeds, with a 95% interval."""

    arm: str
    benchmark: str
    endpoint: str  # the benchmark's title, or `title/group` for one group's safety
    metric: str
    group: str  # "" unless the endpoint is one group's
    main: bool  # whether contrasts are about this metric
    baseline: bool  # whether the arm is the baseline
    estimate: float
    low: float
    high: float
    items: int
    seeds: int
    spread: float | None  # standard deviation over seeds; None with a single one
    chance: float | None  # expected score of uniform guessing
    majority: float | None  # score of always giving the commonest right position
    near_chance: bool  # the interval includes `chance`
    same_answer: float | None  # share of items answered with one same choice position, mean over seeds
    higher_is_better: bool


@dataclass(frozen=True)
class Contrast:
    """Two arms compared on one endpoint; `estimate` = arm − against, in the endpoint's own unit (0–1).

    A declared contrast that could not be computed has NaN for its numbers and the verdict "not tested".
    """

    arm: str
    against: str
    endpoint: str
    estimate: float
    low: float  # 95% interval
    high: float
    items: int
    seeds: int
    arm_score: float
    against_score: float
    declared: bool = False
    expect: str = ""
    claim: str = ""
    margin: float = 0.0
    verdict: str = ""  # better, worse, no detectable difference, not tested
    outcome: str = ""  # of a declared expectation: shown, contradicted, undecided


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
