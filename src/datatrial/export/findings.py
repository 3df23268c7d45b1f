"""All findings as one JSON file of a stable shape, which `docs/export.md` describes."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datatrial import __version__
from datatrial.engine.step import Step
from datatrial.export._finished import Finished
from datatrial.records import read_json
from datatrial.report._data_sets import DataSummary
from datatrial.report.analysis import Analysis
from datatrial.report.cautions import cautions
from datatrial.report.sections.summary import headline
from datatrial.steps import ArmRun

SCHEMA = 1  # raised when a field goes away or comes to mean something else; new fields do not raise it


def write(finished: Finished, out: Path) -> None:
    """Writes `findings.json`."""
    text = json.dumps(findings_of(finished), indent=2, ensure_ascii=False, allow_nan=False)
    (out / "findings.json").write_text(text, encoding="utf-8")


def findings_of(finished: Finished) -> dict[str, Any]:
    """The findings as JSON values; a number that could not be computed is null."""
    found, report = finished.findings, finished.report
    analysis = found.analysis
    found_here = {
        "schema": SCHEMA,
        "datatrial": __version__,
        "redacted": finished.redact,
        "study": _study(finished),
        "headline": headline(analysis),
        "cautions": cautions(found),
        "base_model": _step(finished, finished.plan.model) if report.model else None,
        "arms": [_arm(finished, arm) for arm in finished.plan.study.arms],
        "data": [_data(summary) for summary in found.data],
        "benchmarks": [_benchmark(analysis, title, found.notes.get(title, ())) for title in analysis.benchmarks],
        "scores": [asdict(score) for score in analysis.scores],
        "contrasts": [asdict(contrast) for contrast in analysis.contrasts],
        "claims": [_claim(analysis, number) for number in range(len(analysis.claims))],
        "unevenness": [asdict(row) for row in analysis.unevenness],
        "missing": [
            {"arm": m.arm, "seed": m.seed, "benchmark": m.benchmark or None}
            # Why data could not be used may quote them.
            | ({} if finished.redact else {"reason": m.reason})
            for m in report.missing
        ],
        "made_with": _made_with([step.record for step in found.steps]),
    }
    plain: dict[str, Any] = _without_nan(found_here)
    return plain


def _study(finished: Finished) -> dict[str, Any]:
    report = finished.report
    return {
        "name": report.name,
        "about": report.about.strip(),
        "baseline": report.baseline,
        "primary": list(report.primary),
        "seeds": finished.findings.seeds,
        "assumptions": dict(report.assumptions),
        "reference": report.reference,
        "yaml": report.study,
    }


def _arm(finished: Finished, arm: str) -> dict[str, Any]:
    descriptions = finished.findings.descriptions
    runs = [_run(finished, run, scored) for run, scored in finished.runs if run.arm == arm]
    return {"name": arm, "description": descriptions.get(arm, ""), "runs": runs}


def _run(finished: Finished, run: ArmRun, scored: Mapping[str, Step]) -> dict[str, Any]:
    stages = [{"stage": e.kind, "data": e.target, **_trained(finished, step)} for e, step in run.stages]
    return {
        "seed": run.seed,
        "policy": run.policy.digest,
        "stages": stages,
        "evaluations": {title: _scored(finished, step) for title, step in scored.items()},
    }


def _trained(finished: Finished, step: Step) -> dict[str, Any]:
    return {**_step(finished, step), "counts": read_json(finished.store.path(step) / "training.json")}


def _scored(finished: Finished, step: Step) -> dict[str, Any]:
    summary = read_json(finished.store.path(step) / "summary.json")
    kept = ("statistic", "metric", "metrics", "items", "num_fewshot")
    return {**_step(finished, step), **{name: summary[name] for name in kept if name in summary}}


def _step(finished: Finished, step: Step) -> dict[str, Any]:
    """What a result is and depends on."""
    record = finished.store.record(step)
    return {
        "kind": step.task.kind,
        "digest": step.digest,
        "settings": record["recipe"]["task"],
        "inputs": record["recipe"]["inputs"],
        "externals": record["externals"],
        "seconds": record["seconds"],
        "device": record["device"],
    }


def _data(summary: DataSummary) -> dict[str, Any]:
    card = summary.card
    return {
        "name": summary.name,
        "form": card.form,
        "rows": card.rows,
        "dropped": [{"reason": drop.reason, "rows": drop.rows} for drop in card.drops],
        "notes": card.notes,
        "source": asdict(card.source),
    }


def _benchmark(analysis: Analysis, title: str, notes: Sequence[str]) -> dict[str, Any]:
    score = analysis.any_score(title)
    return {
        "name": title,
        "metric": score.metric if score else None,
        "higher_is_better": score.higher_is_better if score else None,
        "primary": analysis.is_primary(title),
        "groups": analysis.groups(title),
        "notes": list(notes),
    }


def _claim(analysis: Analysis, number: int) -> dict[str, Any]:
    """A claim, and at which places of `contrasts` its evidence is."""
    claim = analysis.claims[number]
    places = {id(contrast): place for place, contrast in enumerate(analysis.contrasts)}
    return {"claim": claim.text, "outcome": claim.outcome, "contrasts": [places[id(part)] for part in claim.parts]}


def _made_with(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def distinct(values: Iterator[Any]) -> list[Any]:
        return sorted({value for value in values if value})

    names = distinct(name for record in records for name in record.get("packages") or {})
    versions = {name: distinct((r.get("packages") or {}).get(name) for r in records) for name in names}
    return {
        "packages": versions,
        "python": distinct(record.get("python") for record in records),
        "devices": distinct(record.get("device") for record in records),
        "machines": distinct(record.get("machine") for record in records),
        "begun": min((str(record["started"]) for record in records if record.get("started")), default=None),
        "seconds": round(math.fsum(float(record.get("seconds", 0)) for record in records), 2),
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
