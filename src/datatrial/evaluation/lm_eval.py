"""Benchmarks of lm-eval (Gao et al., EleutherAI/lm-evaluation-harness): its stock tasks, or tasks of one's own."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from datatrial.evaluation._base import Benchmark, TaskFacts, Workload
from datatrial.records import Form, Needs, Runtime

if TYPE_CHECKING:
    import polars as pl

    from datatrial.evaluation._answers import Item
    from datatrial.evaluation._harness import Loaded
    from datatrial.evaluation._tasks import Leaf, Tasks

# Task objects with their items and requests, kept in the worker for the next model, the last used last.
# The key holds all settings, since a task object that ran 0-shot would ignore another number of shots.
_LOADED: dict[str, "tuple[Loaded, dict[str, dict[int, Item]]]"] = {}
_KEPT = 16  # of these: more than most studies have benchmarks. MMLU with 5 examples takes 130 MB, others a tenth of it


class LmEval(Benchmark):
    """A task or group of lm-eval, scored by lm-eval itself: the numbers are those of the `lm_eval` command.

    Writes `scores.parquet` (item, stratum, metric, value: metrics that are means of their items), `items.parquet`
    (question, choices, their log-likelihoods in nats and tokens, chosen and right positions), `summary.json`, and for a
    `data` set of questions `task/`, with which `lm_eval --tasks questions --include_path .`, called there, repeats the
    measurement.
    """

    version: ClassVar[int] = 2

    forms: ClassVar[tuple[Form, ...]] = ("questions",)

    task: str | None = Field(None, exclude=True)  # a stock name, or a YAML file; what it holds counts, not its name
    num_fewshot: int | None = Field(
        None, ge=0
    )  # None: as the task says; a task that says 0 stays 0-shot, as in lm-eval
    # "shared": the same examples before every question of a task; None: as lm-eval, which mostly draws others for each
    fewshot: Literal["shared"] | None = None
    limit: int | None = Field(None, gt=0)  # the first items of each task only
    chat_template: bool = False
    metric: str | None = None  # the endpoint; None: acc_norm where the task has it (acc for `data`), else its first

    @field_validator("task")
    @classmethod
    def _beside_the_study(cls, task: str | None, info: ValidationInfo) -> str | None:
        if task is None or not task.endswith((".yaml", ".yml")):
            return task
        return str((info.context or {}).get("folder", Path.cwd()) / Path(task).expanduser())

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.task is None) == (self.data is None):
            raise ValueError("give either `task` (of lm-eval, or a YAML file) or `data` (a data set of questions)")
        return self

    @model_validator(mode="after")
    def _shots_to_share(self) -> Self:
        if self.fewshot and not self.num_fewshot:
            raise ValueError("`fewshot: shared` needs `num_fewshot`: how many examples to show")
        return self

    @property
    def title(self) -> str:
        task = str(self.task)
        return self.name or self.data or (Path(task).stem if task.endswith((".yaml", ".yml")) else task)

    @cached_property
    def tasks(self) -> "Tasks":
        """What `task` stands for.

        Raises: DataError when lm-eval knows no such task, or a file cannot be used.
        """
        from datatrial.evaluation._tasks import read_tasks

        return read_tasks(str(self.task))

    @property
    def workload(self) -> Workload:
        tasks = () if self.data else tuple(_facts(leaf, self.num_fewshot, self.fewshot) for leaf in self.tasks.leaves)
        return Workload("choices", self.limit, tasks, shots=self.num_fewshot or 0)

    @property
    def bare(self) -> Self:
        asked = ("num_fewshot", "fewshot", "limit", "chat_template", "metric")
        return self.model_copy(update={name: type(self).model_fields[name].default for name in asked})

    def texts(self, inputs: Mapping[str, Path], runtime: Runtime) -> "pl.DataFrame":
        if self.data:
            return super().texts(inputs, runtime)
        import polars as pl

        _, items = self._load(self.tasks, inputs, {}, runtime)
        rows = [
            (item.name, "\n".join([item.question, *(item.choices or [item.target])]), task)
            for task, numbered in items.items()
            for item in numbered.values()
        ]
        return pl.DataFrame(rows, dict.fromkeys(("item", "text", "benchmark"), pl.String), orient="row")

    def problems(self) -> list[str]:
        if self.task is None:
            return []
        known = self._declared_metrics()
        if self.metric and known and self.metric.partition(",")[0] not in known:
            return [f"metric: {self.title} has no metric {self.metric!r}; it has {', '.join(known)}"]
        return []

    def _declared_metrics(self) -> list[str]:
        listed = [leaf.settings.get("metric_list") or [] for leaf in self.tasks.leaves]
        metrics = [m.get("metric") for task in listed for m in task]
        return list(dict.fromkeys(m for m in metrics if isinstance(m, str))) if all(listed) else []

    def identity(self) -> dict[str, Any]:
        identity = super().identity()
        return identity if self.task is None else {**identity, "tasks": self.tasks.identity}

    def needs(self) -> Mapping[str, Needs]:
        return self._needs

    @cached_property
    def _needs(self) -> Mapping[str, Needs]:  # every model's step asks: of MMLU's 57 tasks that takes a while
        from datatrial.evaluation._task_data import needs_of

        return {} if self.task is None else needs_of(self.tasks.leaves)

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from datatrial.evaluation import _harness, _questions, _summary

        own = _questions.write_task(inputs["data"], out / "task") if self.data else None
        tasks, files = own or (self.tasks, {})
        loaded, items = self._load(tasks, inputs, files, runtime)
        outcome = _harness.score(
            loaded, inputs["policy"], limit=self.limit, chat_template=self.chat_template, runtime=runtime
        )
        preferred = () if self.data else ("acc_norm",)
        _summary.write(out, tasks, items, outcome, _summary.Endpoint(self.metric, preferred))

    def _load(
        self, tasks: "Tasks", inputs: Mapping[str, Path], files: Mapping[str, Path], runtime: Runtime
    ) -> "tuple[Loaded, dict[str, dict[int, Item]]]":
        from datatrial.evaluation import _answers, _harness

        read = {name: str(path) for name, path in sorted(inputs.items()) if name != "policy"}
        key = json.dumps([self.identity(), read])
        found = _LOADED.pop(key, None)
        if found is None:
            loaded = _harness.load(
                tasks, {**inputs, **files}, self.num_fewshot, runtime, shared_shots=self.fewshot == "shared"
            )
            found = loaded, _answers.read_items(loaded, self.limit)
        _LOADED[key] = found
        while len(_LOADED) > _KEPT:
            del _LOADED[next(iter(_LOADED))]
        return found


def _facts(leaf: "Leaf", num_fewshot: int | None, fewshot: str | None) -> TaskFacts:
    said, own = leaf.settings, leaf.settings.get("num_fewshot") or 0
    sampler = (said.get("fewshot_config") or {}).get("sampler")
    keeps = num_fewshot is None or said.get("num_fewshot") == 0
    return TaskFacts(
        name=leaf.name,
        shots=own if keeps else num_fewshot or 0,
        shared_shots=fewshot == "shared" or sampler == "first_n",
        has_choices=said.get("output_type", "multiple_choice") == "multiple_choice",
        data=f"data/{said.get('dataset_path')}",
        configuration=str(said.get("dataset_name") or ""),
        split=str(said.get("test_split") or said.get("validation_split") or ""),
    )
