"""Scores of lm-eval's tasks in lm-eval's own files (0.4.13), for tools that read those.

A run of an arm becomes a folder as `lm_eval --log_samples --output_path` writes one: `results_<time>.json` and, for
each task, `samples_<task>_<time>.jsonl`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatrial import __version__
from datatrial.engine.step import Step
from datatrial.evaluation.lm_eval import LmEval
from datatrial.export._finished import Finished
from datatrial.export._samples import Asked, samples_of, task_hash
from datatrial.foreign.names import file_names
from datatrial.records import read_json
from datatrial.steps import ArmRun

if TYPE_CHECKING:
    import polars as pl

SCHEMA = 1  # of what `results_*.json` has under `datatrial`


def write(finished: Finished, out: Path) -> None:
    """Writes `lm_eval/<arm>-seed-<n>/` of every run that lm-eval scored."""
    names = _task_names(finished)
    for run, scored in finished.runs:
        steps = {title: step for title, step in scored.items() if isinstance(step.task, LmEval)}
        if steps:
            folder = out / "lm_eval" / finished.folder(run)
            folder.mkdir(parents=True)
            _write_run(finished, run, steps, names, folder)


def _write_run(
    finished: Finished, run: ArmRun, steps: Mapping[str, Step], names: Mapping[str, Mapping[str, str]], folder: Path
) -> None:
    begun = max(datetime.fromisoformat(finished.store.record(step)["started"]) for step in steps.values())
    # As lm-eval writes it, in local time without a zone: files of one run carry one time.
    stamp = begun.replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")
    results: dict[str, Any] = {key: {} for key in _BY_TASK}
    details: dict[str, Any] = {}
    tasks = [name for title in steps for name in names[title].values()]
    files = dict(zip(tasks, file_names(tasks, gap="__"), strict=True))
    for title, step in steps.items():
        scores = _Scores.read(finished, title, step, names[title])
        for key, found in scores.results().items():
            results[key] |= found
        details[title] = {"digest": step.digest, "settings": step.recipe["task"], "tasks": scores.prompts()}
        for task, samples in scores.samples(finished.redact).items():
            results["task_hashes"][task] = task_hash(samples)
            lines = "".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
            (folder / f"samples_{files[task]}_{stamp}.jsonl").write_text(lines, encoding="utf-8")
    results |= _about(finished, run, list(steps.values()), begun)
    results["datatrial"]["benchmarks"] = details
    text = json.dumps(results, indent=2, ensure_ascii=False, default=str)
    (folder / f"results_{stamp}.json").write_text(text, encoding="utf-8")


def _about(finished: Finished, run: ArmRun, steps: Sequence[Step], begun: datetime) -> dict[str, Any]:
    """The parts of `results_*.json` that are about the run as a whole."""
    packages = finished.store.record(steps[0])["packages"]
    limits = {step.recipe["task"]["limit"] for step in steps}
    return {
        "config": {
            "model": "datatrial",
            "model_args": {"arm": run.arm, "seed": run.seed},
            "limit": limits.pop() if len(limits) == 1 else None,
            "bootstrap_iters": 0,
        },
        "git_hash": None,
        "date": begun.timestamp(),
        "lm_eval_version": packages.get("lm_eval"),
        "transformers_version": packages.get("transformers"),
        "model_source": "datatrial",
        "model_name": finished.folder(run),
        "model_name_sanitized": file_names([finished.folder(run)], gap="__")[0],
        "datatrial": {
            "schema": SCHEMA,
            "version": __version__,
            "study": finished.report.name,
            "arm": run.arm,
            "seed": run.seed,
            "redacted": finished.redact,
        },
    }


_TASK_OF_ITEM = r"^(.*):\d+$"  # of an item's name
_BY_TASK = (  # parts of `results_*.json`
    "results",
    "group_subtasks",
    "configs",
    "versions",
    "n-shot",
    "higher_is_better",
    "n-samples",
    "task_hashes",
)


@dataclass(frozen=True)
class _Scores:
    """One benchmark's result for one model."""

    title: str
    summary: Mapping[str, Any]
    asked: tuple[Asked, ...]  # by task, in order
    configs: Mapping[str, Mapping[str, Any]]  # by the tasks' names here

    @classmethod
    def read(cls, finished: Finished, title: str, step: Step, names: Mapping[str, str]) -> "_Scores":
        import polars as pl

        assert isinstance(step.task, LmEval)
        result = finished.store.path(step)
        summary = read_json(result / "summary.json")
        configs = _configs(step.task, result, summary)
        items = pl.read_parquet(result / "items.parquet").with_columns(_task())
        scores = pl.read_parquet(result / "scores.parquet").with_columns(_task())
        asked = tuple(
            Asked(
                name=name,
                items=items.filter(pl.col("task") == task).to_dicts(),
                scores=scores.filter(pl.col("task") == task).to_dicts(),
                metric=summary["metric"],
                config=configs[task],
                shown={
                    "num_fewshot": summary["num_fewshot"].get(task) or 0,
                    "fewshot": step.task.fewshot,
                    "chat_template": step.task.chat_template,
                    "description": str(configs[task].get("description") or ""),
                },
                documents=_documents(result),
            )
            for task, name in names.items()
        )
        return cls(title, summary, asked, {name: {**configs[task], "task": name} for task, name in names.items()})

    def samples(self, redact: bool) -> dict[str, list[dict[str, Any]]]:
        return {asked.name: samples_of(asked, redact) for asked in self.asked}

    def prompts(self) -> dict[str, Any]:
        """By task, whether the prompts in its samples are whole, or lack what stands before the question."""
        return {asked.name: {"prompts": "whole" if asked.whole else "question", **asked.shown} for asked in self.asked}

    def results(self) -> dict[str, dict[str, Any]]:
        """The parts of `results_*.json` that go by task."""
        tasks = {asked.name: asked for asked in self.asked}
        counts = {name: len({row["item"] for row in asked.items}) for name, asked in tasks.items()}
        better = {self.summary["metric"].partition(",")[0]: self.summary["higher_is_better"]}
        found: dict[str, dict[str, Any]] = {
            "results": {name: self._metrics(asked, counts[name]) for name, asked in tasks.items()},
            "configs": {name: {**config, "num_fewshot": tasks[name].shots} for name, config in self.configs.items()},
            "versions": {name: (c.get("metadata") or {}).get("version") for name, c in self.configs.items()},
            "n-shot": {name: asked.shots for name, asked in tasks.items()},
            "higher_is_better": {name: {**_declared_sense(self.configs[name]), **better} for name in tasks},
            "n-samples": {name: {"original": n, "effective": n} for name, n in counts.items()},
        }
        if len(tasks) > 1:
            whole = {_key(metric): value for metric, value in self.summary["metrics"].items()}
            found["results"][self.title] = {"name": self.title, "alias": self.title, **whole}
            found["group_subtasks"] = {self.title: list(tasks)}
            found["higher_is_better"][self.title] = better
        return found

    def _metrics(self, asked: Asked, count: int) -> dict[str, Any]:
        import polars as pl

        task = asked.items[0]["task"] if asked.items else asked.name
        values = self.summary["tasks"].get(task, {})
        scores = pl.DataFrame(asked.scores, {"metric": pl.String, "value": pl.Float64})
        found: dict[str, Any] = {"name": asked.name, "alias": asked.name, "sample_len": count}
        for metric, value in values.items():
            plain, _, chosen = _key(metric).partition(",")
            of_items = scores.filter(pl.col("metric") == metric)["value"]
            # lm-eval's for a mean: the sample standard deviation over the root of the number of items.
            error = float(of_items.std()) / len(of_items) ** 0.5 if len(of_items) > 1 else "N/A"  # type: ignore[arg-type]
            found |= {_key(metric): value, f"{plain}_stderr,{chosen}": error}
        return found


def _task_names(finished: Finished) -> dict[str, dict[str, str]]:
    """`names_of` the benchmarks that lm-eval scored, the same for every arm."""
    tasks: dict[str, list[str]] = {}
    for _, scored in finished.runs:
        for title, step in scored.items():
            if isinstance(step.task, LmEval) and title not in tasks:
                tasks[title] = _tasks_of(finished.store.path(step))
    return names_of(tasks)


def names_of(tasks: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """For each benchmark's title the names of its tasks here, by lm-eval's; each name is used once.

    A benchmark of one task gives it its title, since every data set of questions is a task "questions" to lm-eval.
    """
    used = Counter([*tasks, *(task for own in tasks.values() if len(own) > 1 for task in own)])
    return {
        title: {task: title if len(own) == 1 else task if used[task] == 1 else f"{title}_{task}" for task in own}
        for title, own in tasks.items()
    }


def _task() -> "pl.Expr":
    import polars as pl

    return pl.col("item").str.extract(_TASK_OF_ITEM).alias("task")


def _tasks_of(result: Path) -> list[str]:
    import polars as pl

    items = pl.read_parquet(result / "items.parquet", columns=["item"]).with_columns(_task())
    return items["task"].unique(maintain_order=True).to_list()


def _configs(benchmark: LmEval, result: Path, summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of each task, as its file has them."""
    import yaml

    if benchmark.data:
        settings = yaml.safe_load((result / "task" / "questions.yaml").read_text(encoding="utf-8"))
        return {settings["task"]: settings}
    return {leaf.name: {**leaf.settings, "task": leaf.name} for leaf in benchmark.tasks.leaves}


def _documents(result: Path) -> list[dict[str, Any]] | None:
    """The documents of a data set of questions, in order; of other tasks they are not kept."""
    path = result / "task" / "questions.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else None


def _declared_sense(config: Mapping[str, Any]) -> dict[str, bool]:
    return {
        metric["metric"]: metric["higher_is_better"]
        for metric in config.get("metric_list") or []
        if isinstance(metric.get("metric"), str) and "higher_is_better" in metric
    }


def _key(metric: str) -> str:
    """A metric as lm-eval writes it, with its filter."""
    return metric if "," in metric else f"{metric},none"
