"""Where there are too many arms and items to hold all that is computed of them, it is computed some at a time."""

import numpy as np
import polars as pl
import pytest

from datatrial.effects import EvaluationRun
from datatrial.statistics import _bootstrap, _paired
from datatrial.statistics._sheet import read_sheets
from tests.statistics.trial import Trial, answers, write_accuracy


def filled(folder, seeds=(0, 1, 2)) -> Trial:
    trial, rng = Trial(folder), np.random.default_rng(1)
    trial.add("base", None, answers(rng, 0.4))
    for arm, p in {"one": 0.5, "two": 0.6, "three": 0.4, "four": 0.7}.items():
        for seed in seeds:
            trial.add(arm, seed, {item: v for item, v in answers(rng, p).items() if rng.random() < 0.9})
    return trial


def test_pairs_compared_one_after_another_come_to_what_all_at_once_do(tmp_path, monkeypatch):
    trial = filled(tmp_path)
    beside = (("two", "one"), ("four", "three"))
    whole = trial.run(beside=beside)
    monkeypatch.setattr(_paired, "HELD", 1)
    assert trial.run(beside=beside) == whole


@pytest.mark.parametrize("chunk", [1, 100, 7001])
def test_resamples_drawn_a_few_at_a_time_are_the_same_ones(tmp_path, monkeypatch, chunk):
    trial = filled(tmp_path)
    whole = trial.run(resamples=100)
    monkeypatch.setattr(_bootstrap, "CHUNK", chunk)
    assert trial.run(resamples=100) == whole


def test_items_are_paired_by_name_whatever_their_order_and_the_first_run_describes_them(tmp_path):
    first = write_accuracy(tmp_path / "first", {"a:1": 1.0, "a:2": 0.0})
    second = write_accuracy(tmp_path / "second", {"a:3": 0.25, "a:2": 0.5, "a:1": 0.75})
    rows = pl.read_parquet(second / "scores.parquet").with_columns(stratum=pl.lit("other"))
    rows.write_parquet(second / "scores.parquet")
    runs = [(EvaluationRun("x", seed, "facts", ""), path) for seed, path in enumerate((first, second))]
    _, [sheet] = read_sheets(runs)
    assert sheet.items == ("a:1", "a:2", "a:3")
    assert np.array_equal(sheet.values, [[1.0, 0.0, np.nan], [0.75, 0.5, 0.25]], equal_nan=True)
    assert sheet.strata.tolist() == [0, 0, 1]
