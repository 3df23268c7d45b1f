"""The card of a model: what it was trained on, how, and what the study found of its arm."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from datatrial import __version__
from datatrial.export._finished import Finished
from datatrial.records import read_json
from datatrial.report._data_sets import DataSummary
from datatrial.report.cautions import cautions
from datatrial.report.confounds import settings_of
from datatrial.report.tables import TextTable, doubts, expected, said
from datatrial.report.wording import count, difference, interval, listed, number
from datatrial.steps import ArmRun

if TYPE_CHECKING:
    from datatrial.export.adapters import BaseModel

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
LOADING = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, "this-folder", use_safetensors=True)
tokenizer = AutoTokenizer.from_pretrained("this-folder")
```
"""
LOADING_ALL = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("this-folder")
tokenizer = AutoTokenizer.from_pretrained("this-folder")
```
"""


def card(finished: Finished, run: ArmRun, base: "BaseModel") -> str:
    """The `README.md` of what a run made."""
    data, adapted = _data_of(finished, run), finished.model(run.policy).adapter is not None
    what = f"A LoRA adapter on {base.words}, trained" if adapted else f"{base.words} with every weight trained"
    what = what[0].upper() + what[1:]
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(run, base, data, adapted), sort_keys=False, allow_unicode=True)}---\n",
        f"# {plain(finished.report.name)}: {plain(run.arm)}, seed {run.seed}\n",
        f"{what}, by datatrial {__version__} as one arm of a controlled trial of "
        "fine-tuning data. It was made to be compared with the trial's other arms.\n",
        LOADING.format(base=_loaded(base)) if adapted else LOADING_ALL,
        "## What it was trained on\n",
        _data_table(data).markdown(),
        "## How it was trained\n",
        _recipe(finished, run),
        "## What the study found\n",
        *_found(finished, run),
        "## Read with care\n",
        "".join(f"- {plain(caution)}\n" for caution in cautions(finished.findings)),
        "## The study\n",
        _fenced("yaml", finished.report.study),
    ]
    return "\n".join(parts)


def plain(text: str) -> str:
    """A text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _front_matter(run: ArmRun, base: "BaseModel", data: Sequence[DataSummary], adapted: bool) -> dict[str, Any]:
    kinds = list(dict.fromkeys(entry.kind for entry, _ in run.stages))
    origins = [d.card.source.origin for d in data if HUB_ID.fullmatch(d.card.source.origin)]
    found: dict[str, Any] = {"library_name": "peft" if adapted else "transformers", "pipeline_tag": "text-generation"}
    if base.repo:
        found |= {"base_model": base.repo, "base_model_relation": "adapter" if adapted else "finetune"}
    found["tags"] = ["datatrial", *["lora"] * adapted, *kinds]
    return {**found, "datasets": list(dict.fromkeys(origins))} if origins else found


def _loaded(base: "BaseModel") -> str:
    if base.repo is None:
        return '"folder-of-the-base-model"'
    return f'"{base.repo}", revision="{base.revision}"' if base.revision else f'"{base.repo}"'


def _data_of(finished: Finished, run: ArmRun) -> list[DataSummary]:
    summaries = {summary.name: summary for summary in finished.findings.data}
    names = dict.fromkeys(entry.target for entry, _ in run.stages)
    return [summaries[name] for name in names if name in summaries]


def _data_table(data: Sequence[DataSummary]) -> TextTable:
    rows = []
    for summary in data:
        card, source = summary.card, summary.card.source
        origin = f"{source.origin or 'not stated'}{f' at {source.revision[:12]}' if source.revision else ''}"
        curated = [f"{count(drop.rows)} left out: {drop.reason}" for drop in card.drops]
        curation = "; ".join([*curated, *card.notes]) or "–"
        rows.append((summary.name, count(card.rows), card.form, source.licence, origin, source.answers_by, curation))
    columns = ("data set", "rows", "form", "licence", "origin", "answers by", "curation")
    return TextTable("Data sets", columns, tuple(rows))


def _recipe(finished: Finished, run: ArmRun) -> str:
    """The settings and counts of every stage, as YAML."""
    stages = []
    for entry, step in run.stages:
        counted = read_json(finished.store.path(step) / "training.json")
        said = settings_of(step.recipe["task"], counted).items()
        settings = {name: value for name, value in said if name not in ("kind", "version") and value != {}}
        stages.append({"stage": entry.kind, "data": entry.target, "settings": settings, "counted": counted})
    return _fenced("yaml", yaml.safe_dump(stages, sort_keys=False, allow_unicode=True))


def _fenced(language: str, text: str) -> str:
    """A block of code, by a fence that is longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text.strip()}\n{fence}\n"


def _found(finished: Finished, run: ArmRun) -> Iterator[str]:
    analysis = finished.findings.analysis
    if run.arm not in analysis.arms:
        yield "The study has no scores of this arm.\n"
        return
    yield (
        f"Scores and differences to `{analysis.baseline}` are of the arm: means over its seeds, with 95% intervals. "
        "What this very adapter scored stands beside them. Scores on a 0–1 scale are in points (× 100).\n"
    )
    yield _scores(finished, run).markdown()
    judged = [(claim, part) for claim in analysis.claims for part in claim.parts if run.arm in (part.arm, part.against)]
    if judged:
        yield "What the study claimed of this arm, and what came of it:\n"
        yield "".join(
            f"- {plain(f'{claim.text}: {part.arm} − {part.against} on {part.endpoint}')} was expected to be "
            f"{expected(part) or 'reported'}: **{said(part)}**\n"
            for claim, part in judged
        )
    missing = [m for m in finished.report.missing if m.arm == run.arm]
    if missing:
        benchmarks = listed(list(dict.fromkeys(m.benchmark or "everything" for m in missing)))
        yield f"Some of its results are missing: {plain(benchmarks)}.\n"


def _scores(finished: Finished, run: ArmRun) -> TextTable:
    analysis, rows = finished.findings.analysis, []
    for title in analysis.endpoints:
        score, delta, scale = analysis.score(run.arm, title), analysis.delta(run.arm, title), analysis.scale(title)
        if score is None:
            continue
        own = _own(finished, run, title)
        rows.append(
            (
                f"{title} ({score.metric})",
                "–" if own is None else number(own, scale),
                f"{number(score.estimate, scale)} {interval(score.low, score.high, scale)}",
                difference(delta, scale) if delta else "–",
                delta.verdict if delta else "–",
                ", ".join(doubts(score)) or "–",
            )
        )
    columns = ("benchmark", "this model", "arm", f"difference to {analysis.baseline}", "verdict", "doubts")
    return TextTable("Scores", columns, tuple(rows))


def _own(finished: Finished, run: ArmRun, title: str) -> float | None:
    """The score of a single run, as its benchmark defines it."""
    step = run.scores.get(title)
    if step is None or not finished.store.has(step):
        return None
    summary: Mapping[str, Any] = read_json(finished.store.path(step) / "summary.json")
    value = summary["metrics"].get("mean" if summary["statistic"] == "group_safety" else summary["metric"])
    return None if value is None else float(value)
