"""What a model answered, item by item, as lm-eval logs it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Sample = dict[str, Any]
MASK = "x"  # stands for each character of a text that is left out: a metric such as acc_norm goes by their number


@dataclass(frozen=True)
class Asked:
    """One task of a benchmark, and what a model made of it."""

    name: str
    items: Sequence[Mapping[str, Any]]  # rows of `items.parquet`
    scores: Sequence[Mapping[str, Any]]  # rows of `scores.parquet`
    metric: str  # the benchmark's main one
    config: Mapping[str, Any]
    shown: Mapping[str, Any]  # what stands before a question: its settings
    documents: Sequence[Mapping[str, Any]] | None  # None where they are not kept

    @property
    def shots(self) -> int:
        return int(self.shown["num_fewshot"])

    @property
    def whole(self) -> bool:
        """Whether a prompt is the question and nothing else: of other prompts only the question is kept."""
        return not any(self.shown.values())

    @cached_property
    def values(self) -> dict[str, dict[str, dict[str, float]]]:
        """Item → filter → metric → value."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for row in self.scores:
            metric, _, chosen = row["metric"].partition(",")
            found.setdefault(row["item"], {}).setdefault(chosen or "none", {})[metric] = row["value"]
        return found

    @property
    def main_filter(self) -> str:
        return self.metric.partition(",")[2] or "none"


def samples_of(asked: Asked, redact: bool) -> list[Sample]:
    """The task's samples, filter by filter, in the order of the items; with `redact`, no text but its length."""
    filters = dict.fromkeys([asked.main_filter, *(name for found in asked.values.values() for name in found)])
    return [_sample(asked, row, chosen, redact) for chosen in filters for row in asked.items]


def task_hash(samples: Sequence[Sample]) -> str:
    """lm-eval's hash of a task: of its items' hashes."""
    return _hash("".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in samples))


def _sample(asked: Asked, row: Mapping[str, Any], chosen: str, redact: bool) -> Sample:
    number = int(row["item"].rpartition(":")[2])
    # Where each choice begins a sentence that goes on alike, as in WinoGrande, the ending stands for the question.
    row = {**row, "ending": row["question"] == row["target"]}
    document = _document(asked, row, number)
    requests = _requests(asked, row)
    prompt = requests[0]["arg_0"]
    values = asked.values.get(row["item"], {}).get(chosen, {})
    answers = _answers(row) if chosen == asked.main_filter else []
    if redact:
        masked = {"question": MASK * len(row["question"]), "choices": [MASK * len(c) for c in row["choices"]]}
        requests = _requests(asked, {**row, **masked})
        answers = answers if row["response"] is None else [""] * len(answers)
    return {
        "doc_id": number,
        "doc": {} if redact else document,
        "target": row["target"] if not redact or (row["choices"] and row["target"].isdecimal()) else "",
        "arguments": {f"gen_args_{n}": request for n, request in enumerate(requests)},
        "resps": [[answer] for answer in answers],
        "filtered_resps": answers,
        "filter": chosen,
        "metrics": list(values),
        "doc_hash": _hash(json.dumps(document, indent=2, ensure_ascii=False)),
        # Where more than the question is shown the prompt is not kept: its settings stand for it, so that other
        # examples, or another template, give another hash.
        "prompt_hash": _hash(prompt if asked.whole else json.dumps([prompt, asked.shown], ensure_ascii=False)),
        "target_hash": _hash(row["target"]),
        **values,
    }


def _document(asked: Asked, row: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    if asked.documents is not None:
        return asked.documents[number]
    return {"question": row["question"], "choices": row["choices"], "target": row["target"]}


def _requests(asked: Asked, row: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the model was asked, as far as it is kept: each choice after the question."""
    delimiter = str(asked.config.get("target_delimiter", " "))
    if not row["choices"]:
        return [{"arg_0": row["question"]}]
    if row["ending"]:
        return [{"arg_0": choice, "arg_1": delimiter + row["question"]} for choice in row["choices"]]
    return [{"arg_0": row["question"], "arg_1": delimiter + choice} for choice in row["choices"]]


def _answers(row: Mapping[str, Any]) -> list[Any]:
    """As lm-eval logs them: log-likelihoods and whether each was the likeliest text, as texts; or the answer."""
    if row["response"] is not None:
        return [row["response"]]
    return [[str(value), str(greedy)] for value, greedy in zip(row["log_likelihoods"], row["greedy"], strict=True)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
