"""Ours against lm-eval's `hf` on the log-likelihoods of stock benchmarks, and against the bound."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import _likelihood_bound as bound
import _likelihood_models as models
import _likelihood_requests as asked
import torch
from _likelihood_requests import Questions
from lm_eval.models.huggingface import HFLM

from datatrial.likelihood.scorer import Scorer
from datatrial.likelihood.trie import Trie

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_TRIED_TOKENS = 8192  # that batch sizes are tried on, at least
_SECONDS_OF_RATE = 1.0
_HOPELESS = 1.3  # times the best: two such batch sizes in a row, and larger ones are not tried


@dataclass(frozen=True)
class Timed:
    """What one side took, in wall seconds and in CPU-seconds of all threads, and what it said."""

    seconds: float
    cpu: float
    answers: list[Any]
    tokens: int = 0
    building: float = 0.0  # of the seconds, those for the trie


@dataclass(frozen=True)
class Settings:
    """What is measured, and how."""

    size: str
    threads: int
    hub_root: Path
    work: Path
    items: int | None
    subjects: int | None
    rounds: int
    memory: float  # bytes that logits and their softmax may take in lm-eval
    peer: bool  # whether lm-eval runs too


def timed(run: Callable[[], list[Any]]) -> Timed:
    start, cpu = time.perf_counter(), time.process_time()
    answers = run()
    return Timed(time.perf_counter() - start, time.process_time() - cpu, answers)


def theirs(lm: HFLM, requests: Sequence[Any]) -> Timed:
    return timed(lambda: lm._loglikelihood_tokens(list(requests), disable_tqdm=True))


def ours(scorer: Scorer, questions: Questions, max_length: int) -> Timed:
    """Trie and layout included."""
    requests = questions.token_requests
    start, cpu = time.perf_counter(), time.process_time()
    trie = Trie.of(requests, max_length)
    built = time.perf_counter() - start
    found = scorer.score(trie, len(requests), lambda *_: None)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    answers = list(zip(found.log_likelihood.tolist(), found.greedy.tolist(), strict=True))
    return Timed(seconds, used, answers, found.tokens, built)


def best_batch_size(lm: HFLM, questions: Questions, work: Path, memory: float, key: str) -> int:
    """lm-eval's fastest batch size, tried on a part of the requests; kept for the next run.

    memory: bytes that logits and their softmax may take.
    """
    file = work / "batch_sizes.json"
    known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    if key not in known:
        sizes = _sizes_that_fit(questions, lm.config.vocab_size, memory)
        requests = _evenly(questions, 2 * sizes[-1])
        seconds: dict[int, float] = {}
        for size in sizes:
            lm.batch_size_per_gpu = size
            seconds[size] = min(theirs(lm, requests).seconds for _ in range(2))
            if len(seconds) > 2 and min(list(seconds.values())[-2:]) > _HOPELESS * min(seconds.values()):
                break
        note(f"{key}: " + ", ".join(f"{size}: {found:.1f} s" for size, found in seconds.items()))
        known = {**known, key: min(seconds, key=seconds.__getitem__)}
        file.write_text(json.dumps(known, indent=1))
    return known[key]


def _sizes_that_fit(questions: Questions, vocabulary: int, memory: float) -> list[int]:
    longest = max(len(context) + len(continuation) for _, context, continuation in questions.requests)
    return [1, *(size for size in BATCH_SIZES[1:] if 2 * size * longest * vocabulary * 4 <= memory)]


def _evenly(questions: Questions, passes: int) -> list[Any]:
    """The requests of documents that are evenly spaced by length: so many forward passes, or more."""
    documents = [questions.requests[span] for span in questions.spans]
    length = [sum(len(c) + len(k) for _, c, k in document) for document in documents]
    rows = [len({(*c, *k[:-1]) for _, c, k in document}) for document in documents]
    share = max(passes / sum(rows), _TRIED_TOKENS / sum(length))
    count = min(len(documents), math.ceil(share * len(documents)))
    order = sorted(range(len(documents)), key=length.__getitem__)
    return [request for n in range(count) for request in documents[order[int((n + 0.5) * len(order) / count)]]]


@dataclass
class Compared:
    """The rounds of one benchmark."""

    title: str
    questions: Questions
    trie: Trie
    work: bound.Work
    batch_size: int
    hf: list[Timed]
    ours: list[Timed]
    rates: list[bound.Rates]  # of the best shapes, right before and after each round of ours

    @property
    def of_bound(self) -> float:
        """The share of the bound that ours reaches, the bound at the rate of whole passes of the same round."""
        return self._share(lambda rates: self.work.total / rates["all"].wall)

    @property
    def of_bound_in_cpu(self) -> float:
        """The same of CPU-seconds, which other work on the machine changes less."""
        pairs = zip(self.rates, self.ours, strict=True)
        return median(self.work.total / rates["all"].cpu / own.cpu for rates, own in pairs)

    @property
    def of_parts(self) -> float:
        """The share of a bound that takes the body's work at the body's best rate, and the head's at the head's."""
        return self._share(lambda rates: self.work.body / rates["body"].wall + self.work.head / rates["head"].wall)

    def _share(self, least: Callable[[bound.Rates], float]) -> float:
        return median(least(rates) / own.seconds for rates, own in zip(self.rates, self.ours, strict=True))

    def of_bound_at(self, rate: float) -> float:
        return self.work.total / rate / median(own.seconds for own in self.ours)

    def run_ours(self, scorer: Scorer, costs: bound.Costs, shapes: bound.Shapes, max_length: int) -> None:
        before = costs.rates(shapes, _SECONDS_OF_RATE)
        self.ours.append(ours(scorer, self.questions, max_length))
        self.rates.append(bound.mean(before, costs.rates(shapes, _SECONDS_OF_RATE)))

    @property
    def ratios(self) -> list[float]:
        return [hf.seconds / own.seconds for hf, own in zip(self.hf, self.ours, strict=True)]

    def row(self) -> list[str]:
        own = self.ours[0]
        cells = [
            self.title,
            f"{len(self.questions.documents):,}",
            f"{self.trie.total:,}",
            f"{self.trie.distinct:,}",
            f"{own.tokens:,}",
            f"{bound.needed(self.trie):,}",
            spread([t.seconds for t in self.ours], 2),
            f"{median(t.building for t in self.ours):.2f}",
            f"**{self.of_bound:.1%}**",
            f"{self.of_bound_in_cpu:.1%}",
            f"**{self.of_parts:.1%}**",
        ]
        return [*cells, *self._beside()] if self.hf else cells

    def _beside(self) -> list[str]:
        hf, own = self.hf[0].answers, self.ours[0].answers
        difference = max(abs(a[0] - b[0]) for a, b in zip(hf, own, strict=True))
        greedy = sum(a[1] != b[1] for a, b in zip(hf, own, strict=True))
        metrics = zip(self.questions.metrics(hf), self.questions.metrics(own), strict=True)
        cpu = median(h.cpu / o.cpu for h, o in zip(self.hf, self.ours, strict=True))
        pairs = zip(self.hf, self.rates, strict=True)
        at_bound = median(h.seconds * rates["all"].wall / self.work.total for h, rates in pairs)
        return [
            f"{spread([t.seconds for t in self.hf], 1)} ({self.batch_size})",
            f"**{spread(self.ratios, 2)}**",
            f"{cpu:.2f}",
            f"{at_bound:.2f}",
            f"{difference:.1e}",
            str(greedy),
            str(sum(asked.differs(a, b) for a, b in metrics)),
        ]


OURS = ["benchmark", "items", "tokens asked", "distinct", "read", "logits", "ours, s", "of it trie"]
OURS += ["of the bound", "in CPU-s", "of the bound by parts"]
BESIDE = ["hf, s (batch)", "faster by", "in CPU-s", "at the bound", "largest Δ, nats", "greedy ≠", "metrics ≠"]


def spread(values: Sequence[float], digits: int) -> str:
    middle = f"{median(values):.{digits}f}"
    return f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})" if len(values) > 1 else middle


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def compare(
    name: str, lm: HFLM, scorer: Scorer, costs: bound.Costs, shapes: bound.Shapes, settings: Settings
) -> Compared:
    benchmark = asked.BENCHMARKS[name]
    questions = asked.questions(
        benchmark, lm.model, lm.tokenizer, settings.hub_root, settings.work, settings.items, settings.subjects
    )
    trie = Trie.of(questions.token_requests, lm.max_length)
    size = 0
    if settings.peer:
        part = f"{settings.items or 'all'} items, {settings.subjects or 'all'} subjects"
        key = f"{settings.size}, {settings.threads} threads, {name}, {part}"
        lm.batch_size_per_gpu = size = best_batch_size(lm, questions, settings.work, settings.memory, key)
    compared = Compared(benchmark.title, questions, trie, costs.trie(trie), size, [], [], [])
    for number in range(settings.rounds):
        sides = ["ours", "hf"] if number % 2 else ["hf", "ours"]
        for side in sides if settings.peer else ["ours"]:
            if side == "ours":
                compared.run_ours(scorer, costs, shapes, lm.max_length)
            else:
                compared.hf.append(theirs(lm, questions.requests))
    return compared


def rates(costs: bound.Costs) -> tuple[bound.Shapes, list[str]]:
    """The shapes at which plain forward passes and their parts are fastest, and lines that say how fast they are."""
    lines, best = [], {}
    for part, found in bound.sweep(costs).items():
        best[part] = batch, length = max(found, key=found.__getitem__)
        listed = ", ".join(f"{b}×{n} {rate / 1e9:.1f}" for (b, n), rate in found.items())
        lines.append(f"- {bound.PARTS[part]}: {found[best[part]] / 1e9:.1f} GFLOP/s at {batch}×{length} ({listed})")
    return best, lines


def report(settings: Settings, names: Sequence[str]) -> list[str]:
    """The lines of the table for a size of model and a number of threads, measured."""
    torch.set_num_threads(settings.threads)
    folder = models.made(settings.size, settings.hub_root, settings.work)
    model, tokenizer = models.loaded(folder)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1)
    start = time.perf_counter()
    scorer = Scorer(model)
    checking = time.perf_counter() - start
    costs = bound.Costs(model)
    shapes, speeds = rates(costs)
    columns = [*OURS, *(BESIDE if settings.peer else [])]
    lines = [
        f"## {settings.size}, {settings.threads} thread{'s' * (settings.threads > 1)}",
        "",
        f"Items: {settings.items or 'all'} of each task; {settings.subjects or 'all'} of MMLU's subjects; "
        f"{settings.rounds} rounds, alternating. Self-check {checking:.1f} s, not counted; method "
        f"{scorer.method.name}, budget {scorer.budget.recorded()}. {' '.join(scorer.notes)}",
        "",
        *speeds,
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    note("\n".join(lines))
    found = []
    for name in names:
        found.append(compare(name, lm, scorer, costs, shapes, settings))
        lines.append(f"| {' | '.join(found[-1].row())} |")
        note(lines[-1])
    reached = geometric_mean([one.of_bound for one in found])
    by_parts = geometric_mean([one.of_parts for one in found])
    highest = max(rates["all"].wall for one in found for rates in one.rates)
    at_highest = geometric_mean([one.of_bound_at(highest) for one in found])
    lines += ["", f"Of the bound, geometric mean: **{reached:.1%}**, each round's at the rate of that round; "]
    lines[-1] += f"**{by_parts:.1%}** with the body and the head each at its own rate; "
    lines[-1] += f"{at_highest:.1%} at the highest rate of any ({highest / 1e9:.1f} GFLOP/s). "
    lines[-1] += f"Load at the end {' '.join(f'{part:.1f}' for part in os.getloadavg())}."
    note(lines[-1])
    return [*lines, ""]
