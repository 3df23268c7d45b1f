"""What crosses folders: the shapes of rows and models, what audits find, and what a running step is given.

A data set is a Parquet file of rows in one of five forms (`FORMS`); `effects` has the shapes of scores and contrasts.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

from datatrial.regular_files import text_of

Role = Literal["system", "user", "assistant"]
LARGEST_JSON = 2**28  # bytes of a file that is read whole; results of lm-eval and what an audit found are far smaller


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
class SourceFacts:
    """What is known of a source without reading it."""

    licence: str = "not stated"
    answers_by: str = "not stated"  # human, LLM, program
    labels_by: str = "not stated"  # who said which answer is better
    curated: str = ""  # how its rows were chosen and checked
    about: str = ""
    paper: str = ""  # what the study that this project grew from says of it, and whether that fits
    origin: str = ""  # hub repository or kind of file
    published_rows: int | None = None  # of the part that the settings select
    revision: str = ""  # the hub's commit that these facts were checked against
    characters: float | None = None  # mean of a row, prompt and answers


@dataclass(frozen=True)
class DataCard:
    """What is known of a data set: where it is from, what was left out of it, and what was done to it."""

    form: Form
    rows: int
    drops: list[Drop] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what curation did besides dropping rows
    source: SourceFacts = field(default_factory=SourceFacts)
    characters: float | None = None  # mean of a row's text, once it is written
    prompt_characters: float | None = None  # of them, those of its prompt


@dataclass(frozen=True)
class Fact:
    """One number, or few words, that an audit found."""

    name: str
    value: float | int | str | None
    unit: str = ""  # "%" for shares, which are 0–1; else what is counted, such as "tokens"


@dataclass(frozen=True)
class FactTable:
    """A table that an audit found."""

    title: str
    columns: list[str]  # one whose name ends in "%" holds shares, which are 0–1
    rows: list[list[str | float | int | None]]
    note: str = ""
    bars: str = ""  # the column of numbers that is easier to see than to read, if any


@dataclass(frozen=True)
class Findings:
    """What an audit says of a data set."""

    facts: list[Fact] = field(default_factory=list)
    tables: list[FactTable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)  # of the study's benchmarks that are in the rows: benchmark/0/task:3


Quantization = Literal["nf4"]


@dataclass(frozen=True)
class ModelRef:
    """A model on disk: a folder of weights and, if it was fine-tuned here, a LoRA adapter on top.

    Weights lie there as they were published; `dtype` and `quantization` are what they are loaded as.

    Written as `model.json` into every result that is a model; paths inside the store are relative to that result.
    """

    weights: str
    adapter: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantization: Quantization | None = None

    def write(self, out: Path) -> None:
        (out / "model.json").write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, result: Path) -> "ModelRef":
        """The model of a result, with absolute paths."""
        ref = cls(**json.loads((result / "model.json").read_text()))
        adapter = os.path.normpath(result / ref.adapter) if ref.adapter else None
        return replace(ref, weights=os.path.normpath(result / ref.weights), adapter=adapter)

    def relative_to(self, out: Path) -> "ModelRef":
        """The same model as seen from a result folder; anything outside that folder's store stays absolute."""
        store = out.parent.parent

        def seen(path: str) -> str:
            return os.path.relpath(path, out) if Path(path).is_relative_to(store) else path

        return replace(self, weights=seen(self.weights), adapter=seen(self.adapter) if self.adapter else None)


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


@dataclass(frozen=True)
class WebFile:
    """A file at a URL; identified by its content, there or in a `hub_root` that has it.

    A step that needs it is given the path of the file.
    """

    url: str
    mirror: str = ""  # where it lies under `hub_root`: org/name/path

    @property
    def name(self) -> str:
        """Its path in the repository that it is from, or else the last part of the URL."""
        return self.mirror.split("/", 2)[-1] or self.url.rpartition("/")[2]

    @property
    def key(self) -> str:
        """Its name in `STUDY.lock`."""
        return f"url {self.url}"


Needs = LocalFiles | HubFiles | WebFile


@dataclass(frozen=True)
class PartOfStudy:
    """Something of the study that a component reads; the planner hands over the result of the step that makes it."""

    # "tokenizer" is the model's, as a result with `model.json`; "benchmarks" are the texts of every benchmark's items.
    what: Literal["model", "tokenizer", "data", "reward_model", "benchmarks"]
    name: str = ""  # of a data set or reward model
    forms: tuple[Form, ...] = ()  # what forms a data set can have; empty: any


Progress = Callable[[float, float, str], None]  # told what is done, the total, and what is counted


def seldom(progress: Callable[[float, float, str], object], seconds: float = 0.2) -> Progress:
    """The same, told at most once in so many seconds, and at the end."""
    last = 0.0

    def told(done: float, total: float, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds or done >= total:
            last = now
            progress(done, total, what)

    return told


def silent(done: float, total: float, what: str) -> None:
    pass


@dataclass(frozen=True)
class Launch:
    """How a training step is spread over processes, each with a GPU of its own where there are any."""

    num_processes: int
    fsdp: Mapping[str, Any] | None = None  # transformers' `fsdp_config`; None: every process has the whole model
    deepspeed: Mapping[str, Any] | None = None  # DeepSpeed's own config
    num_machines: int = 1  # that have as many processes each

    @property
    def on_each_machine(self) -> int:
        """Processes of one machine."""
        return self.num_processes // self.num_machines

    @property
    def zero_stage(self) -> int:
        """What DeepSpeed shards: 0 nothing, 1 the optimizer's state, 2 gradients too, 3 weights too."""
        zero = (self.deepspeed or {}).get("zero_optimization")
        stage = zero.get("stage") if isinstance(zero, Mapping) else None
        return stage if isinstance(stage, int) else 0


@dataclass(frozen=True)
class CheckpointEvery:
    """How often what trains saves where it stands."""

    seconds: float = 120.0
    steps: int | None = None  # optimizer steps, instead

    def is_due(self, step: int, since: float) -> bool:
        """Whether it does after so many steps, and so many seconds since it did last."""
        return step % self.steps == 0 if self.steps else since >= self.seconds


class Others(Protocol):
    """The other machines of a step that runs on several, as the first of them sees them."""

    address: str  # of the first, for the others
    port: int  # of the first, which nothing uses

    def run(self, arguments: Sequence[Sequence[str]], shared: Path) -> AbstractContextManager["Others"]:
        """Have each of them run Python with its arguments, and its own process number after those, until it is left.

        shared: a file that they need to see.
        """

    def failure(self) -> str:
        """What went wrong with one of them, if anything did."""


@dataclass(frozen=True)
class Runtime:
    """Where and how a step runs. Never part of what its result is."""

    device: str = "cpu"
    progress: Progress = silent
    cache: Path = Path(".datatrial/cache")  # scratch that outlives the step and may be deleted at any time
    # A folder of the step's own that survives when it is killed or fails, to go on from; gone once it is done.
    scratch: Path | None = None
    launch: Launch | None = None  # None: in this process alone
    others: Others | None = None  # where `launch` is for several machines
    checkpoint_every: CheckpointEvery = CheckpointEvery()


@dataclass(frozen=True)
class Resources:
    """What a step takes of a cluster while it runs. Never part of what its result is."""

    gpus: float | None = 0.0  # 0–1: a step uses one GPU, or shares one; None: one, where the cluster has any
    cpus: float = 1.0
    memory: int = 0  # bytes to reserve; 0: none in particular
    custom: Mapping[str, float] = field(default_factory=dict)  # by the names that the cluster gives them
    launch: Launch | None = None  # of a training step, in several processes
    checkpoint_every: CheckpointEvery = CheckpointEvery()  # of a training step


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises: OSError when it cannot be read, is no regular file, or larger than any that is read whole; ValueError when
    it is no JSON.
    """
    try:
        return json.loads(text_of(path, LARGEST_JSON))
    except RecursionError:
        raise ValueError("it is nested too deep") from None
