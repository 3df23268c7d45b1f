"""What every kind of benchmark is."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field

from datatrial.component import Family, Title
from datatrial.prompts import PromptFormat
from datatrial.records import Form, PartOfStudy, Runtime

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class TaskFacts:
    """What is known of a task that a benchmark brings along, without reading its items."""

    name: str  # as in the table of published sizes
    shots: int = 0  # examples shown before each question
    shared_shots: bool = False  # whether they are the same before all questions
    has_choices: bool = True  # else answers are written
    data: str = ""  # the benchmark's name for the repository with the items, as in `needs`
    configuration: str = ""  # of that repository
    split: str = ""


@dataclass(frozen=True)
class Workload:
    """How a benchmark puts its items to a policy, as far as its settings say: what the estimates of a plan rest on."""

    # Each choice after its question; sentences by themselves; or prompts, which the policy answers.
    asks: Literal["choices", "sentences", "prompts"]
    limit: int | None = None  # items of each task, or rows of the data set
    tasks: tuple[TaskFacts, ...] = ()  # none where each row of the data set is an item
    shots: int = 0  # examples shown before each question of the data set
    new_tokens: int = 0  # of an answer, at most
    judged: int = 0  # answers to a prompt that go through a reward model
    statistic: Literal["mean", "group_safety"] = "mean"  # as in `summary.json`


class Benchmark(Family):
    """Scores a policy item by item.

    Reads the input `policy` (a result with `model.json`), and `data` where it names a data set. Writes
    `scores.parquet` (one row per item and metric) and `summary.json` (the metrics as their own definition gives them).
    """

    folder: ClassVar[str] = "datatrial.evaluation"
    forms: ClassVar[tuple[Form, ...]] = ()  # what data it can be given
    by_group: ClassVar[bool] = False  # whether its statistic is group_safety: groups are endpoints called `title/group`

    name: Title = Field("", exclude=True)  # what the study calls it; a label
    data: str | None = Field(None, exclude=True)  # a data set of the study; its content counts, not its name

    @property
    def title(self) -> str:
        """The benchmark's name in tables: the study's, or one that follows from its settings."""
        return self.name or self.kind

    @property
    def workload(self) -> Workload | None:
        """What `datatrial plan` reckons with, so nothing heavy is imported; None: nothing can be said beforehand."""
        return None

    def reads(self) -> Mapping[str, PartOfStudy]:
        return {"data": PartOfStudy("data", self.data, self.forms)} if self.data else {}

    def asked_in(self, prompt: PromptFormat) -> Self:
        """The same benchmark with the study's prompt format, where it asks in one of its own choice."""
        return self

    @property
    def bare(self) -> Self:
        """The same benchmark as far as its items' texts go: settings of how they are asked left at their defaults."""
        return self

    def texts(self, inputs: Mapping[str, Path], runtime: Runtime) -> "pl.DataFrame":
        """What the items say, choices included, to find them in training data: columns `item`, `text`, `benchmark`.

        Reads the inputs of a run but for the policy. By default each row of `data` is an item.
        """
        import polars as pl

        from datatrial.tables import Table
        from datatrial.text.rows import texts

        table = Table.read(inputs["data"])
        items = pl.Series([f"{self.kind}:{number}" for number in range(table.height)], dtype=pl.String)
        said = texts(table.rows, table.card.form)
        return pl.DataFrame({"item": items, "text": said}).with_columns(benchmark=pl.lit(self.kind))

    @abstractmethod
    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None: ...
