"""Folders as lm-eval's `--log_samples` writes them, by hand: a few items, and scores that follow from them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TIME = "2026-03-01T10-00-00.000001"
CHOICES = ("a lantern", "seven pebbles", "a heron")
Line = dict[str, Any]


def question(number: int, right: int, chosen: int, prompt: str = "Where is the owl") -> Line:
    """A question with three choices, of which the model likes `chosen` best."""
    requests = [[f"{prompt} {number}?", f" {choice}"] for choice in CHOICES]
    answers = [(-1.0 if place == chosen else -4.0 - place, False) for place in range(len(CHOICES))]
    return line(number, requests, answers, right, {"acc": float(chosen == right)})


def line(number: int, requests: Sequence[Sequence[Any]], answers: Sequence[Any], target: Any, metrics: Line) -> Line:
    """A line of `samples_*.jsonl`: answers are (log-likelihood, greedy) or texts."""
    document = {"number": number}
    return {
        "doc_id": number,
        "doc": document,
        "target": str(target),
        "arguments": {f"gen_args_{n}": {f"arg_{i}": part for i, part in enumerate(r)} for n, r in enumerate(requests)},
        "filtered_resps": [answer if isinstance(answer, str) else list(map(str, answer)) for answer in answers],
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": _hash(document),
        "prompt_hash": _hash(requests[0][0]),
        "target_hash": _hash(str(target)),
        **metrics,
    }


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def write(
    folder: Path,
    tasks: Mapping[str, Sequence[Line]],
    groups: Mapping[str, Sequence[str]] | None = None,
    time: str = TIME,
    settings: Mapping[str, Any] | None = None,
    **run: Any,
) -> Path:
    """Writes the samples of some tasks and their results; `settings` are each task's own, `run` those of the run."""
    out = folder / "some__model"
    out.mkdir(parents=True, exist_ok=True)
    own = {
        "output_type": "multiple_choice",
        "target_delimiter": " ",
        "metric_list": [{"metric": "acc"}],
        **(settings or {}),
    }
    results = {task: _means(lines) for task, lines in tasks.items()}
    for group in groups or {}:
        results[group] = _means([line for member in _members(group, groups or {}) for line in tasks[member]])
    said = {
        "results": results,
        "group_subtasks": groups or {},
        "configs": dict.fromkeys(tasks, own),
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {task: {"acc": True} for task in tasks},
        "n-samples": {task: {"effective": len({line["doc_id"] for line in lines})} for task, lines in tasks.items()},
        "config": {"limit": None},
        "model_name": "some/model",
        "lm_eval_version": "0.4.13",
        **run,
    }
    (out / f"results_{time}.json").write_text(json.dumps(said))
    for task, lines in tasks.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (out / f"samples_{task}_{time}.jsonl").write_text(text)
    return folder


def _members(name: str, groups: Mapping[str, Sequence[str]]) -> list[str]:
    return [leaf for member in groups[name] for leaf in _members(member, groups)] if name in groups else [name]


def _means(lines: Sequence[Line]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for found in lines:
        for metric in found["metrics"]:
            values.setdefault(f"{metric},{found['filter']}", []).append(found[metric])
    return {name: sum(of) / len(of) for name, of in values.items()}
