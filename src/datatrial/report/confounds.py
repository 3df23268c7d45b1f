"""What two arms differ in besides their data: every such difference is another explanation of what was found."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datatrial.records import read_json
from datatrial.report._findings import Findings, record_of
from datatrial.report.page import StageRun
from datatrial.report.wording import count, in_words, listed, share

ABOUT_DATA = ("kind", "version", "seed", "init_seed")  # settings that say nothing of how an arm was treated
COUNTED = {"examples_seen": "examples trained on", "tokens_seen": "tokens trained on", "passes": "passes over the data"}
NEARLY = 0.1  # relative difference of a count from which on it is named


@dataclass(frozen=True)
class Recipe:
    """How an arm was made."""

    stages: tuple[Mapping[str, Any], ...]  # settings of each training stage, of the first seed
    starts: str  # what the first stage goes on from
    counts: Mapping[str, float]  # of all stages together, mean over seeds
    drift: float | None  # nats a token from the base model
    cut: float  # share of the examples that lost their end
    software: Mapping[str, str]
    devices: frozenset[str]
    seeds: frozenset[int]  # that the stages drew with


def recipes(findings: Findings) -> dict[str, Recipe]:
    """The recipe of each arm that has results."""
    of_arm = {arm: [stage for stage in findings.settings.stages if stage.arm == arm] for arm in findings.analysis.arms}
    return {arm: _recipe(findings, arm, stages) for arm, stages in of_arm.items()}


def confounds(one: Recipe, other: Recipe) -> list[str]:
    """In words, all that the recipes differ in other than the data."""
    return [*_order(one, other), *_settings(one, other), *_counts(one, other), *_surroundings(one, other)]


def _recipe(findings: Findings, arm: str, stages: Sequence[StageRun]) -> Recipe:
    paths = [findings.inputs[stage.input] for stage in stages]
    records, trained = [record_of(path) for path in paths], [read_json(path / "training.json") for path in paths]
    declared = [(record.get("recipe") or {}).get("task") or {} for record in records]
    tasks = tuple(settings_of(task, found) for task, found in zip(declared, trained, strict=True))
    # What copies a candidate runs anywhere: its device trained nothing.
    trainers = [record for record, task in zip(records, declared, strict=True) if not task.get("first_seed")]
    trainers = trainers or records
    examples = sum(found.get("examples") or 0 for found in trained)
    runs = max(1, len({stage.seed for stage in stages}))
    counts = {name: sum(found.get(name) or 0 for found in trained) / runs for name in COUNTED}
    policies = [(record.get("recipe") or {}).get("inputs", {}).get("policy", "") for record in records[:1]]
    return Recipe(
        stages=tuple(task for task, stage in zip(tasks, stages, strict=True) if stage.seed == stages[0].seed),
        starts=policies[0] if policies else "",
        counts=counts,
        drift=findings.drift.get(arm),
        cut=sum(found.get("truncated") or 0 for found in trained) / examples if examples else 0.0,
        software={name: version for record in records for name, version in (record.get("packages") or {}).items()},
        devices=frozenset(str(record["device"]) for record in trainers if record.get("device")),
        seeds=frozenset(int(task["seed"]) for task in tasks if "seed" in task),
    )


def settings_of(task: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's settings as it was trained, with what was picked, from its identity and its `training.json`."""
    return {**task.get("stage", task), **trained.get("picked", {}).get("settings", {})}


def _order(one: Recipe, other: Recipe) -> Iterator[str]:
    kinds = [[str(task.get("kind")) for task in recipe.stages] for recipe in (one, other)]
    if not kinds[0] or not kinds[1]:
        return  # against a model that was not trained, training is the question
    if kinds[0] != kinds[1]:
        yield f"stages: {' → '.join(kinds[0])} against {' → '.join(kinds[1])}"
    if one.starts != other.starts:
        yield "starting from another model"


def _settings(one: Recipe, other: Recipe) -> Iterator[str]:
    """Settings of stages of one kind, at one place, that differ."""
    for ours, theirs in zip(one.stages, other.stages, strict=False):
        if ours.get("kind") != theirs.get("kind"):
            continue
        for name in sorted(ours.keys() | theirs.keys()):
            if name not in ABOUT_DATA and ours.get(name) != theirs.get(name):
                yield f"{ours['kind']} {name}: {in_words(ours.get(name))} against {in_words(theirs.get(name))}"


def _counts(one: Recipe, other: Recipe) -> Iterator[str]:
    if not one.stages or not other.stages:
        return
    for name, words in COUNTED.items():
        ours, theirs = one.counts[name], other.counts[name]
        if not math.isclose(ours, theirs, rel_tol=NEARLY):
            written = [f"{value:.2g}" if name == "passes" else count(value) for value in (ours, theirs)]
            yield f"{words}: {written[0]} against {written[1]}"
    if one.drift is not None and other.drift is not None and not math.isclose(one.drift, other.drift, rel_tol=NEARLY):
        yield f"moved from the base model by {one.drift:.3g} against {other.drift:.3g} nats a token (KL)"
    if abs(one.cut - other.cut) > NEARLY / 10:
        yield f"examples cut short: {share(one.cut)} against {share(other.cut)}"


def _surroundings(one: Recipe, other: Recipe) -> Iterator[str]:
    both = one.software.keys() & other.software.keys()
    versions = [f"{name} {one.software[name]} against {other.software[name]}" for name in sorted(both)
                if one.software[name] != other.software[name]]  # fmt: skip
    if versions:
        yield f"packages: {listed(versions)}"
    if one.devices and other.devices and one.devices != other.devices:
        yield f"device: {listed(sorted(one.devices))} against {listed(sorted(other.devices))}"
    if one.stages and other.stages and one.seeds != other.seeds:
        yield f"seeds: {_numbers(one.seeds)} against {_numbers(other.seeds)}"


def _numbers(seeds: frozenset[int]) -> str:
    return listed([str(seed) for seed in sorted(seeds)])
