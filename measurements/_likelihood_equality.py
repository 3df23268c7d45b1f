"""Whether ours and lm-eval's `hf` say the same of every item of the stock benchmarks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _likelihood_models as models
import _likelihood_requests as asked
import numpy as np
import torch
from _likelihood_benchmarks import note
from _likelihood_requests import Answer, Questions
from lm_eval.models.huggingface import HFLM
from numpy.typing import NDArray

from datatrial.likelihood.harness import DatatrialLM


@dataclass(frozen=True)
class Side:
    """A way to get answers."""

    title: str
    lm: Any

    def answers(self, questions: Questions) -> list[Answer]:
        """From the texts on: tokenizing is the side's own, too."""
        return list(self.lm.loglikelihood(questions.instances, disable_tqdm=True))


def report(
    size: str, names: Sequence[str], hub_root: Path, work: Path, items: int | None, taken: int | None, bf16: bool
) -> list[str]:
    """The lines of the tables, measured: in float32, or in bfloat16 with a softmax in float32."""
    folder = models.made(size, hub_root, work)
    model, tokenizer = models.loaded(folder, torch.bfloat16 if bf16 else torch.float32)
    of_model: dict[str, Any] = {"pretrained": model, "tokenizer": tokenizer, "backend": "causal"}
    softmax = {"softmax_dtype": "float32"} if bf16 else {}
    one = Side("hf, batch size 1", HFLM(**of_model, **softmax, batch_size=1))
    others = [Side("ours", DatatrialLM(**of_model, progress=lambda *_: None))]
    exact = None
    if bf16:
        others.append(Side("hf, batch size 16", HFLM(**of_model, **softmax, batch_size=16)))
        in_float32 = models.loaded(folder, torch.bfloat16)[0].float()  # with the same weights
        exact = Side("hf in float32", HFLM(**{**of_model, "pretrained": in_float32}, batch_size=1))
    lines = [f"## {size}, {'bfloat16, softmax in float32' if bf16 else 'float32'}: what differs from {one.title}", ""]
    columns = ["benchmark", "items", "against", "largest Δ, nats", "mean Δ, nats", "greedy ≠", "items ≠"]
    columns += ["mean Δ of an item", "metrics", *(["mean Δ from float32, nats"] if exact else [])]
    lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    ties: list[str] = []
    for name in names:
        questions = asked.questions(asked.BENCHMARKS[name], model, tokenizer, hub_root, work, items, taken)
        said = one.answers(questions)
        right = exact.answers(questions) if exact else None
        for other in others:
            answers = other.answers(questions)
            row, tied = _compared(name, questions, said, answers, other.title)
            if right:
                row.append(f"{_apart(answers, right).mean():.1e}; {one.title} {_apart(said, right).mean():.1e}")
            lines.append(f"| {' | '.join(row)} |")
            ties += tied if not bf16 else []
            note(lines[-1])
    recorded = others[0].lm.recorded()
    lines += ["", f"Ours: method {recorded['method']}, budget {recorded['budget']}.", ""]
    return [*lines, *(["Items that differ:", *ties, ""] if ties else [])]


def _apart(one: list[Answer], other: list[Answer]) -> NDArray[np.float64]:
    """[requests] by how many nats their log-likelihoods differ."""
    return np.array([abs(a[0] - b[0]) for a, b in zip(one, other, strict=True)])


def _compared(
    name: str, questions: Questions, said: list[Answer], answers: list[Answer], by: str
) -> tuple[list[str], list[str]]:
    apart = _apart(said, answers)
    greedy = sum(a[1] != b[1] for a, b in zip(said, answers, strict=True))
    metrics = [questions.metrics(each) for each in (said, answers)]
    differ = [d for d, (a, b) in enumerate(zip(*metrics, strict=True)) if asked.differs(a, b)]
    title, items = asked.BENCHMARKS[name].title, len(questions.documents)
    found = f"{len(differ)}" + (f" ({len(differ) / items:.2%})" if differ else "")
    by_item = np.mean([max(abs(a[metric] - b[metric]) for metric in a) for a, b in zip(*metrics, strict=True)])
    row = [title, f"{items:,}", by, f"{apart.max():.1e}", f"{apart.mean():.1e}", str(greedy), found]
    row += [f"{by_item:.1e}", _aggregated(questions, *metrics)]
    return row, [_tie(title, questions, d, said, answers) for d in differ]


def _aggregated(questions: Questions, one: list[dict[str, float]], other: list[dict[str, float]]) -> str:
    """Each metric as its task aggregates it, of MMLU the mean over subjects' items; both where they differ."""
    cells = []
    for metric in one[0]:
        values = [_aggregate(questions, metric, scores) for scores in (one, other)]
        same = values[0] == values[1]
        cells.append(
            f"{metric} {values[0]:.4f}" + ("" if same else f" ≠ {values[1]:.4f} (Δ {values[1] - values[0]:.1e})")
        )
    return ", ".join(cells)


def _aggregate(questions: Questions, metric: str, scores: list[dict[str, float]]) -> float:
    by_task: dict[int, list[float]] = {}
    for (number, _), score in zip(questions.documents, scores, strict=True):
        by_task.setdefault(number, []).append(score[metric])
    total = sum(
        questions.tasks[number].aggregation()[metric](values) * len(values) for number, values in by_task.items()
    )
    return float(total / len(scores))


def _tie(title: str, questions: Questions, number: int, said: list[Answer], answers: list[Answer]) -> str:
    """How close the two likeliest choices of a document are on either side, by either way of ranking them."""
    (task, document), span = questions.documents[number], questions.spans[number]
    lengths = np.array([float(len(choice)) for choice in questions.tasks[task].doc_to_choice(document)])
    gaps = []
    for each in (said, answers):
        values = np.array([log_likelihood for log_likelihood, _ in each[span]])
        ranked = np.sort(values), np.sort(values / lengths)
        gaps.append(f"{ranked[0][-1] - ranked[0][-2]:.1e} nats, {ranked[1][-1] - ranked[1][-2]:.1e} a character")
    return f"- {title}, item {number}: the two likeliest choices are apart by {gaps[0]}; in ours by {gaps[1]}"
