"""lm-eval at work: its task objects over data on this disk, its evaluation, and our model in it."""

import importlib.util
import logging
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from lm_eval.api.group import Group as HarnessGroup
from lm_eval.evaluator import evaluate
from lm_eval.tasks._yaml_loader import load_yaml

from datatrial.errors import DataError, ModelError
from datatrial.evaluation._harness_task import HarnessTask, SharedShots
from datatrial.evaluation._model import model_of
from datatrial.evaluation._outcome import Outcome, Sample
from datatrial.evaluation._task_data import local_settings
from datatrial.evaluation._tasks import Group, Leaf, Tasks
from datatrial.records import Runtime

# As the `lm_eval` command seeds: Python, NumPy, torch, and the choice of few-shot examples.
_PYTHON_SEED, _NUMPY_SEED, _TORCH_SEED, _FEWSHOT_SEED = 0, 1234, 1234, 1234
_NAMED = 5  # items that are named among those that could not be scored


@dataclass(frozen=True)
class Loaded:
    """lm-eval's objects for some tasks, ready to be used on one model after another."""

    tasks: Mapping[str, HarnessTask]
    groups: Mapping[str, HarnessGroup]


def load(
    tasks: Tasks, inputs: Mapping[str, Path], num_fewshot: int | None, runtime: Runtime, shared_shots: bool = False
) -> Loaded:
    """The task objects, with the data they need read.

    shared_shots: whether examples that lm-eval would draw anew for each question are drawn once for all of a task.

    Raises: DataError naming the task whose data cannot be read as the task expects.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    _import_when_used("rouge_score", "rouge_scorer")
    leaves = tasks.leaves
    loaded: dict[str, HarnessTask] = {}
    for number, leaf in enumerate(leaves):
        runtime.progress(number, len(leaves), "tasks loaded")
        data = local_settings(leaf, inputs, runtime.cache / "datasets")
        loaded[leaf.name] = _task(leaf, data, num_fewshot, shared_shots)
    groups: dict[str, HarnessGroup] = {}
    for member in tasks.members:
        _add_group(member, loaded, groups)
    return Loaded(loaded, groups)


def score(loaded: Loaded, policy: Path, *, limit: int | None, chat_template: bool, runtime: Runtime) -> Outcome:
    """All requests of the tasks put to a policy; items that it cannot answer are left out, and named in the notes.

    Raises: ModelError when lm-eval cannot put them to this model, or it can answer no item of a task.
    """
    writes = all(task.OUTPUT_TYPE == "generate_until" for task in loaded.tasks.values())
    with model_of(policy, runtime, writes) as (lm, notes):
        if chat_template and not lm.tokenizer.chat_template:
            raise ModelError("this model's tokenizer has no chat template; leave `chat_template` out")
        chat_format = str((lm.tokenizer.chat_template, lm.tokenizer.special_tokens_map))
        for task in loaded.tasks.values():
            task.prepare(lm.failures, chat_format)
        try:
            results = _evaluate(loaded, lm, limit, chat_template)
            return _outcome(loaded, lm, limit, results, notes)
        finally:
            for task in loaded.tasks.values():
                task.forget_answers()


def _outcome(loaded: Loaded, lm: Any, limit: int | None, results: Mapping[str, Any], notes: Sequence[str]) -> Outcome:
    return Outcome(
        results=results["results"],
        samples={name: list(_samples(task, limit, lm)) for name, task in loaded.tasks.items()},
        higher_is_better=results["higher_is_better"],
        fewshot=results["n-shot"],
        scoring=lm.recorded(),
        failures={f"{task}:{number}": reason for (task, number), reason in lm.failures.items()},
        notes=[*notes, *_notes(lm), *_shared(loaded)],
    )


def _evaluate(loaded: Loaded, lm: Any, limit: int | None, chat_template: bool) -> dict[str, Any]:
    _seed(loaded)
    try:
        results: dict[str, Any] = evaluate(
            lm=lm,
            task_dict={"tasks": dict(loaded.tasks), "groups": dict(loaded.groups), "group_map": {}},
            limit=limit,
            bootstrap_iters=0,
            log_samples=False,  # it hashes every document and prompt; a task keeps what is needed
            apply_chat_template=chat_template,
            fewshot_as_multiturn=chat_template,
        )
    except AssertionError as problem:
        reason = str(problem) or f"a request does not fit into its {lm.max_length} tokens"
        raise ModelError(f"lm-eval cannot put {', '.join(loaded.tasks)} to this model: {reason}") from problem
    return results


def _samples(task: HarnessTask, limit: int | None, lm: Any) -> Iterator[Sample]:
    name = task.config.task
    answers: dict[int, list[Any]] = {}
    for request in task.instances:  # of each item in the order of its choices
        answers.setdefault(request.doc_id, []).append(request.filtered_resps)
    numbers = [number for number, _ in task.doc_iterator(limit=limit)]
    asked = [(key, number) for key in task.instances[0].filtered_resps for number in numbers]
    for (key, number), metrics in zip(asked, task.metrics, strict=True):
        tokens = lm.continuations.get((name, number), [])
        yield Sample(number, key, metrics, [filtered[key] for filtered in answers[number]], tokens)


def _notes(lm: Any) -> Iterator[str]:
    scoring = lm.recorded()
    if cut := scoring.get("truncated"):
        asked = f"{cut} of {scoring['requests']} requests were longer than the model's {lm.max_length} tokens"
        yield f"{asked} and lost their beginning"
    for (task, number), reason in list(lm.failures.items())[:_NAMED]:
        yield f"left out of the scores: {task} item {number}: {reason}"
    if (more := len(lm.failures) - _NAMED) > 0:
        yield f"left out of the scores: {more} more items"
    yield from lm.notes


def _shared(loaded: Loaded) -> Iterator[str]:
    """What is not as the `lm_eval` command does it."""
    for name, task in loaded.tasks.items():
        if isinstance(getattr(task, "sampler", None), SharedShots):
            shots = f"the same {task.config.num_fewshot} examples come before every question"
            yield f"{name}: {shots}, where lm-eval draws others for each: not comparable with published numbers"


def _task(leaf: Leaf, data: Mapping[str, Any], num_fewshot: int | None, shared_shots: bool) -> HarnessTask:
    own = load_yaml(leaf.file, resolve_func=True)
    config = {**own, **leaf.overrides, "task": leaf.name, **data}
    for key in ("tag", "group", "task_list"):
        config.pop(key, None)
    metadata = config.get("metadata")
    config["metadata"] = metadata if isinstance(metadata, dict) else {"_metadata": metadata}
    if callable(answer := config.get("doc_to_target")):
        config["doc_to_target"] = _in_plain_python(answer)
    # As the command does: a task that says 0-shot stays 0-shot, whatever is asked for.
    if num_fewshot is not None and config.get("num_fewshot") != 0:
        config["num_fewshot"] = num_fewshot
    config.setdefault("num_fewshot", 0)
    drawn = {"sampler": "default", **(config.get("fewshot_config") or {})}
    if shared_shots and drawn["sampler"] == "default":
        config["fewshot_config"] = {**drawn, "sampler": SharedShots}
    try:
        task = HarnessTask(config)
    except IndexError as problem:  # lm-eval looks at the first answer of the first question
        raise DataError(f"{leaf.name}: the first question in its data has no choices, or one without text") from problem
    except KeyError as problem:
        raise DataError(f"{leaf.name}: its data has no {problem}; {leaf.file} asks for it") from problem
    except Exception as problem:
        # Reading foreign data with a task's own code can fail in any way; what failed is all there is to say.
        raise DataError(f"{leaf.name}: its data cannot be read: {type(problem).__name__}: {problem}") from problem
    _check_shots(task, leaf.name)
    return task


def _import_when_used(package: str, module: str) -> None:
    """What tasks import beside what is used of them may take long: TruthfulQA's generation metric, 2 s."""
    name = f"{package}.{module}"
    if name in sys.modules or not importlib.util.find_spec(package):
        return
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    sys.modules[name] = lazy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lazy)
    setattr(sys.modules[package], module, lazy)  # else `from package import module` would look into it


def _check_shots(task: HarnessTask, name: str) -> None:
    shots = task.config.num_fewshot
    examples = len(task.sampler.df) if hasattr(task, "sampler") else 0
    spare = examples - (task.fewshot_cfg.split is not None and task.fewshot_cfg.split == task.config.test_split)
    if shots > max(spare, 0):
        raise DataError(f"{name}: num_fewshot is {shots}, but its data has only {max(spare, 0)} examples to show")


def _in_plain_python(answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    # Stock ToxiGen's answers are np.int32, which its few-shot prompts cannot hold.
    def plain(doc: Any) -> Any:
        value = answer(doc)
        return value.item() if isinstance(value, np.generic) else value

    return plain


def _add_group(member: Leaf | Group, tasks: Mapping[str, HarnessTask], groups: dict[str, HarnessGroup]) -> Any:
    if isinstance(member, Leaf):
        return tasks[member.name]
    group = HarnessGroup.from_config({**member.settings, "group": member.name})
    for below in member.members:
        group.add(_add_group(below, tasks, groups))
    groups[member.name] = group
    return group


def _seed(loaded: Loaded) -> None:
    random.seed(_PYTHON_SEED)
    np.random.seed(_NUMPY_SEED)
    torch.manual_seed(_TORCH_SEED)
    for task in loaded.tasks.values():
        task.set_fewshot_seed(_FEWSHOT_SEED)
