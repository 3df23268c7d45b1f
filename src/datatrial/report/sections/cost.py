"""What the study cost: time, tokens and memory, by kind of work and by arm."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from datatrial.records import read_json
from datatrial.report._findings import Findings, Ran, record_of
from datatrial.report._html import render
from datatrial.report.shown import shown
from datatrial.report.wording import count, duration

TITLE = "Cost"


@dataclass(frozen=True)
class ArmCost:
    """Of one run of an arm, the mean over its seeds; a stage that several arms share counts for each of them."""

    arm: str
    tokens: float  # trained on
    training: float  # seconds
    scoring: float  # seconds


def body(findings: Findings) -> Markup:
    steps = [step for step in findings.steps if step.record]
    if not steps:
        return Markup()
    parts = {part: [step for step in steps if step.part == part] for part in dict.fromkeys(s.part for s in steps)}
    tokens = {"training": _trained(findings), "scoring": _scored(findings)}
    rows = [(part, len(of), _time(of), tokens.get(part, ""), _memory(of)) for part, of in parts.items()]
    picking = _picking(findings)
    if picking:
        tried = sum(len(one["candidates"]) for one in picking)
        seconds, trained = (sum(one.get("took", {}).get(name, 0) for one in picking) for name in ("seconds", "tokens"))
        told = duration(seconds), f"{count(trained)} trained on"
        rows.append(("training, to pick settings", tried, *told, ""))
    whole = sum(step.seconds for step in steps) + sum(one.get("took", {}).get("seconds", 0) for one in picking)
    rows.append(("all", sum(row[1] for row in rows), duration(whole), "", _memory(steps)))
    hours = sum(step.seconds for step in steps if step.memory.get("gpu")) / 3600
    return render("cost.html", rows=rows, gpu_hours=hours, arms=arm_costs(shown(findings)))


def _picking(findings: Findings) -> list[dict[str, Any]]:
    """How settings were picked, each once: candidates are trained with the first seed and serve the others."""
    results = {findings.inputs[stage.input] for stage in findings.settings.stages}
    copies = [path for path in results if record_of(path).get("recipe", {}).get("task", {}).get("first_seed")]
    return [read_json(path / "training.json")["picked"] for path in copies]


def arm_costs(findings: Findings) -> list[ArmCost]:
    """Every arm in the study's order."""
    return [_arm_cost(findings, arm.name) for arm in findings.settings.arms]


def _arm_cost(findings: Findings, arm: str) -> ArmCost:
    stages = [findings.inputs[stage.input] for stage in findings.settings.stages if stage.arm == arm]
    scored = [findings.inputs[run.input] for run in findings.settings.runs if run.arm == arm]
    seeds = len({run.seed for run in findings.settings.runs if run.arm == arm}) or 1
    return ArmCost(
        arm,
        tokens=_sum(read_json(stage / "training.json").get("tokens_seen") for stage in stages) / seeds,
        training=_sum(record_of(stage).get("seconds") for stage in stages) / seeds,
        scoring=_sum(record_of(result).get("seconds") for result in scored) / seeds,
    )


def _trained(findings: Findings) -> str:
    tokens = _sum(counts.get("tokens_seen") for training in findings.trainings for counts in training.counts)
    return f"{count(tokens)} trained on" if tokens else ""


def _scored(findings: Findings) -> str:
    results = {path for runs in findings.results.values() for _, path in runs}
    asked, computed = (_sum(_scoring(path).get(name) for path in results) for name in ("request_tokens", "tokens"))
    return f"{count(asked)} in requests, {count(computed)} computed" if asked else ""


def _scoring(result: Path) -> dict[str, Any]:
    scoring: dict[str, Any] = read_json(result / "summary.json").get("scoring") or {}
    return scoring


def _sum(values: Iterable[float | None]) -> float:
    return sum(value or 0.0 for value in values)


def _time(steps: Sequence[Ran]) -> str:
    return duration(sum(step.seconds for step in steps))


def _memory(steps: Sequence[Ran]) -> str:
    host, gpu = (max((step.memory.get(where, 0) for step in steps), default=0) for where in ("host", "gpu"))
    return f"{count(host)} MiB" + (f", {count(gpu)} MiB on the GPU" if gpu else "")
