"""What stock benchmarks ask, built by lm-eval's own tasks over the rows of a mirror, in the tokens of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml

from datatrial.evaluation._task_data import local_settings, needs_of
from datatrial.evaluation._tasks import read_tasks
from datatrial.externals import Lock, Resolver
from datatrial.likelihood.trie import Request

_FEWSHOT_SEED = 1234  # of the `lm_eval` command

Answer = tuple[float, bool]  # log-likelihood in nats, whether the continuation is the greedy one


class Benchmark(NamedTuple):
    """A stock task with so many examples shown before each question."""

    title: str
    task: str
    shots: int


BENCHMARKS = {
    "hellaswag": Benchmark("HellaSwag", "hellaswag", 0),
    "piqa": Benchmark("PIQA", "piqa", 0),
    "arc": Benchmark("ARC-C", "arc_challenge", 0),
    "truthfulqa": Benchmark("TruthfulQA mc2", "truthfulqa_mc2", 0),
    "toxigen": Benchmark("ToxiGen", "toxigen", 0),
    "mmlu": Benchmark("MMLU 0-shot", "mmlu", 0),
    "mmlu-5": Benchmark("MMLU 5-shot", "mmlu", 5),
    "arc-25": Benchmark("ARC-C 25-shot", "arc_challenge", 25),
    "hellaswag-10": Benchmark("HellaSwag 10-shot", "hellaswag", 10),
}


@dataclass(frozen=True)
class Questions:
    """A benchmark's requests, in lm-eval's order: those of a document follow each other."""

    tasks: Sequence[ConfigurableTask]
    documents: list[tuple[int, dict[str, Any]]]  # each with the number of its task
    starts: list[int]  # where each document's requests begin
    instances: list[Instance]  # as `HFLM.loglikelihood` takes them
    requests: list[tuple[tuple[str, str], list[int], list[int]]]  # as `HFLM._loglikelihood_tokens` does, in tokens

    @cached_property
    def spans(self) -> list[slice]:
        """Where the requests of each document are."""
        return [slice(*span) for span in pairwise([*self.starts, len(self.requests)])]

    @property
    def token_requests(self) -> list[Request]:
        return [Request(context, continuation) for _, context, continuation in self.requests]

    def metrics(self, answers: Sequence[Answer]) -> list[dict[str, float]]:
        """What each document scores, as its task says."""
        found = []
        for (number, document), span in zip(self.documents, self.spans, strict=True):
            result = self.tasks[number].process_results(document, list(answers[span]))
            found.append({name: float(value) for name, value in result.items()})
        return found


class _Tokenizing(HFLM):  # type: ignore[misc]
    """lm-eval's `hf` backend up to the model: keeps the requests, in tokens, that it would score."""

    kept: list[Any]

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[Any]:
        self.kept = requests
        return []


def differs(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether a document scores differently: by more than 1e-4 in a metric, which matters where it is no count."""
    return any(not abs(one[metric] - other[metric]) <= 1e-4 for metric in one)


def merged(parts: Sequence[Questions]) -> Questions:
    """The requests of several benchmarks, which lm-eval puts to a model in one go."""
    whole = Questions([], [], [], [], [])
    tasks: list[ConfigurableTask] = []
    for part in parts:
        whole.documents.extend((len(tasks) + number, document) for number, document in part.documents)
        whole.starts.extend(len(whole.requests) + start for start in part.starts)
        whole.instances.extend(part.instances)
        whole.requests.extend(part.requests)
        tasks += part.tasks
    return replace(whole, tasks=tasks)


def subjects(hub_root: Path, count: int | None) -> list[str]:
    """Some of MMLU's subjects, all where `count` is None: evenly spaced in the order of their characters."""
    folders = sorted(f for f in (hub_root / "cais/mmlu").iterdir() if f.is_dir())
    if count is None:
        return [f.name for f in folders]
    by_size = sorted(folders, key=_characters)
    return sorted(by_size[int((n + 0.5) * len(by_size) / count)].name for n in range(count))


def _characters(folder: Path) -> int:
    return sum(int(pl.read_parquet(file)["question"].str.len_chars().sum()) for file in folder.glob("test*.parquet"))


def questions(
    benchmark: Benchmark, model: Any, tokenizer: Any, hub_root: Path, work: Path, items: int | None, taken: int | None
) -> Questions:
    """The requests of a benchmark, or of the first `items` documents of each task; of MMLU, so many subjects."""
    names = [benchmark.task]
    if benchmark.task == "mmlu":
        names = [f"mmlu_{subject}" for subject in subjects(hub_root, taken)]
    tasks = [_task(name, benchmark.shots, hub_root, work) for name in names]
    instances: list[Instance] = []
    documents: list[tuple[int, dict[str, Any]]] = []
    starts: list[int] = []
    for number, task in enumerate(tasks):
        task.set_fewshot_seed(_FEWSHOT_SEED)
        task.build_all_requests(limit=items)
        previous = None
        for instance in sorted(task.instances, key=lambda i: (i.doc_id, i.idx)):
            if instance.doc_id != previous:
                previous = instance.doc_id
                documents.append((number, instance.doc))
                starts.append(len(instances))
            instances.append(instance)
    lm = _Tokenizing(pretrained=model, tokenizer=tokenizer, backend="causal")
    lm.loglikelihood(instances, disable_tqdm=True)
    return Questions(tasks, documents, starts, instances, lm.kept)


def _task(name: str, shots: int, hub_root: Path, work: Path) -> ConfigurableTask:
    """lm-eval's own task, told only where its data lie."""
    [leaf] = read_tasks(name).leaves
    resolver = Resolver(Lock(None), hub_root)
    inputs = {key: resolver.resolve(need).locate() for key, need in needs_of([leaf]).items()}
    config = {**load_yaml(leaf.file, resolve_func=True), **leaf.overrides, "task": leaf.name}
    config.update(local_settings(leaf, inputs, work / "datasets"))
    for key in ("tag", "group", "task_list", "metadata"):
        config.pop(key, None)
    if config.get("num_fewshot") != 0:
        config["num_fewshot"] = shots
    return ConfigurableTask(config=config)
