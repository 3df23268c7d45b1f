"""Runs of arms with their results on disk, made by a test."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from datatrial.effects import EvaluationRun
from datatrial.records import Runtime
from datatrial.statistics.contrasts import Contrasts

Scores = dict[str, float | None]
SCHEMA = {"item": pl.String, "stratum": pl.String, "metric": pl.String, "value": pl.Float64}


def write_accuracy(folder: Path, scores: Scores, **summary: object) -> Path:
    folder.mkdir(parents=True)
    rows = [
        {"item": item, "stratum": item.rpartition(":")[0], "metric": "acc", "value": value}
        for item, value in scores.items()
    ]
    pl.DataFrame(rows, SCHEMA).write_parquet(folder / "scores.parquet")
    about = {"statistic": "mean", "metric": "acc", "higher_is_better": True, "chance": {"acc": 0.25}, **summary}
    (folder / "summary.json").write_text(json.dumps(about))
    return folder


class Trial:
    """Runs of arms with their results on disk, and the contrasts computed from them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.runs: list[EvaluationRun] = []
        self.inputs: dict[str, Path] = {}

    def add(self, arm: str, seed: int | None, scores: Scores, benchmark: str = "facts", **summary: object) -> None:
        name = f"{benchmark}-{arm}-{seed}"
        self.inputs[name] = write_accuracy(self.folder / name, scores, **summary)
        self.runs.append(EvaluationRun(arm, seed, benchmark, name))

    def audit(self, name: str, items: list[str]) -> str:
        """An audit that found some items of benchmarks in a data set; returns the input's name."""
        self.inputs[name] = self.folder / name
        self.inputs[name].mkdir(parents=True)
        (self.inputs[name] / "audit.json").write_text(json.dumps({"contamination": {"items": items}}))
        return name

    def run(self, **settings: object) -> tuple[list[dict], list[dict]]:
        about = {"runs": tuple(self.runs), "baseline": "base", "resamples": 500}
        task = Contrasts(**{**about, **settings})  # type: ignore[arg-type]
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        task.run(self.inputs, out, Runtime())
        return tuple(pl.read_parquet(out / f"{name}.parquet").to_dicts() for name in ("scores", "contrasts"))


def answers(rng: np.random.Generator, p: float, n: int = 60) -> Scores:
    return {f"q{i}": float(rng.random() < p) for i in range(n)}
