"""Benchmarks of lm-eval on one model after another: what is made once, what is left out, what a kill leaves."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.errors import ModelError
from datatrial.evaluation import lm_eval
from datatrial.evaluation.lm_eval import LmEval
from datatrial.likelihood.decoder import Decoder
from datatrial.records import Runtime
from tests.evaluation.conftest import make_policy, score, write_table


@pytest.mark.slow
def test_a_worker_that_scored_before_scores_as_a_fresh_one(
    world: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(**settings: Any) -> dict[str, Any]:
        number = len(list(tmp_path.glob("out-*")))
        return score(LmEval(task=str(world / "river.yaml"), **settings), tmp_path / f"out-{number}", policy=policy)

    plain, shots = measured(), measured(num_fewshot=3)  # a task that ran 0-shot once would ignore the shots
    again = measured(num_fewshot=3)
    monkeypatch.setattr(lm_eval, "_LOADED", {})
    assert measured(num_fewshot=3) == again == shots
    assert shots["num_fewshot"] == {"river": 3}
    likelihoods = [
        pl.read_parquet(tmp_path / f"out-{i}" / "items.parquet")["log_likelihoods"].to_list() for i in (0, 1)
    ]
    assert likelihoods[0] != likelihoods[1]
    assert plain["num_fewshot"] == {"river": 0}


@pytest.mark.slow
def test_another_model_gets_its_own_answers(questions: Path, policy: Path, tmp_path: Path) -> None:
    other = make_policy(tmp_path / "other", seed=1)
    runs = [
        score(LmEval(data="q"), tmp_path / f"{i}", policy=p, data=questions)
        for i, p in enumerate((policy, other, policy))
    ]
    assert runs[0] == runs[2]
    tables = [pl.read_parquet(tmp_path / f"{i}" / "items.parquet") for i in range(3)]
    assert tables[0].equals(tables[2])
    assert tables[0]["log_likelihoods"].to_list() != tables[1]["log_likelihoods"].to_list()


@pytest.mark.slow
def test_progress_counts_to_the_end(
    questions: Path, policy: Path, tmp_path: Path, progress: tuple[list[Any], Callable[..., None]]
) -> None:
    seen, report = progress
    (tmp_path / "out").mkdir()
    LmEval(data="q").run({"data": questions, "policy": policy}, tmp_path / "out", Runtime("cpu", report, tmp_path))
    done, total, what = seen[-1]
    assert done == total > 23
    assert what == "tokens"


@pytest.mark.slow
def test_requests_longer_than_the_model_are_counted(questions: Path, tmp_path: Path) -> None:
    short = make_policy(tmp_path / "short", window=24)
    summary = score(LmEval(data="q"), tmp_path / "out", policy=short, data=questions)
    assert any("requests were longer than the model's 24 tokens" in note for note in summary["notes"])


@pytest.mark.slow
def test_an_item_that_a_model_cannot_take_is_left_out_and_named_and_the_others_are_scored(
    policy: Path, tmp_path: Path
) -> None:
    rows = [
        {"question": f"What is number {i}?", "choices": ["a heron", f"lantern {i}"], "answer": i % 2} for i in range(9)
    ]
    long = {"question": "What is it?", "choices": ["a heron", "a very " * 60 + "long tale"], "answer": 1}
    every = write_table(tmp_path / "every", [*rows[:3], long, *rows[3:]], "questions")
    others = write_table(tmp_path / "others", rows, "questions")
    short = make_policy(tmp_path / "short", window=64)
    summary = score(LmEval(data="q"), tmp_path / "out", policy=short, data=every)
    expected = score(LmEval(data="q"), tmp_path / "expected", policy=short, data=others)
    reason = summary["failures"]["questions:3"]
    assert "its continuation has" in reason
    assert summary["failures"].keys() == {"questions:3"}
    assert f"left out of the scores: questions item 3: {reason}" in summary["notes"]
    assert summary["items"] == 9
    for what in ("metrics", "chance", "majority", "same_answer", "tasks"):
        assert summary[what] == expected[what]
    kept = [f"questions:{i}" for i in range(10) if i != 3]
    for file in ("items.parquet", "scores.parquet"):
        assert pl.read_parquet(tmp_path / "out" / file)["item"].unique().sort().to_list() == kept
    # The next model reads all of it, although it is given the same task objects.
    assert score(LmEval(data="q"), tmp_path / "again", policy=policy, data=every)["items"] == 10


@pytest.mark.slow
def test_a_task_of_which_no_item_can_be_scored_fails_although_others_can(world: Path, tmp_path: Path) -> None:
    hill = (world / "hill.yaml").read_text().replace('"Yes"', '"' + "Yes, and " * 40 + '"')
    (world / "hill.yaml").write_text(hill)
    short = make_policy(tmp_path / "short", window=64)
    with pytest.raises(ModelError, match="hill: no item can be put to this model; item 0: its continuation has"):
        score(LmEval(task=str(world / "world.yaml")), tmp_path / "out", policy=short)


@pytest.mark.slow
def test_requests_are_written_once_for_all_models(
    world: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.api.task import ConfigurableTask

    written = []
    construct = ConfigurableTask.construct_requests

    def counted(self: Any, doc: Any, ctx: Any, **settings: Any) -> Any:
        written.append(ctx)
        return construct(self, doc, ctx, **settings)

    monkeypatch.setattr(ConfigurableTask, "construct_requests", counted)
    monkeypatch.setattr(lm_eval, "_LOADED", {})
    benchmark = LmEval(task=str(world / "world.yaml"), num_fewshot=2)
    other = make_policy(tmp_path / "other", seed=1)
    first = score(benchmark, tmp_path / "0", policy=policy)
    assert len(written) == 9 + 4
    second = score(benchmark, tmp_path / "1", policy=other)
    assert len(written) == 9 + 4
    monkeypatch.setattr(lm_eval, "_LOADED", {})
    assert score(benchmark, tmp_path / "2", policy=other) == second
    assert score(benchmark, tmp_path / "3", policy=policy) == first


@pytest.mark.slow
def test_requests_are_written_anew_for_a_model_that_is_chatted_with_in_another_way(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = [make_policy(tmp_path / f"chatty-{i}") for i in range(2)]
    for mark, policy in zip("<[", policies, strict=True):
        template = "{% for m in messages %}" + mark + "{{ m.role }} {{ m.content }}\n{% endfor %}"
        (policy / "weights" / "chat_template.jinja").write_text(template)
    benchmark = LmEval(data="q", chat_template=True, num_fewshot=1)

    def likelihoods(name: str, policy: Path) -> list[Any]:
        score(benchmark, tmp_path / name, policy=policy, data=questions)
        return pl.read_parquet(tmp_path / name / "items.parquet")["log_likelihoods"].to_list()

    together = [likelihoods(f"{i}", policy) for i, policy in enumerate(policies)]
    for i, policy in enumerate(policies):
        monkeypatch.setattr(lm_eval, "_LOADED", {})
        assert likelihoods(f"alone-{i}", policy) == together[i]
    assert together[0] != together[1]


@pytest.mark.slow
def test_a_worker_keeps_the_last_used_tasks(
    world: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm_eval, "_LOADED", {})
    monkeypatch.setattr(lm_eval, "_KEPT", 2)
    for number, limit in enumerate((1, 2, 1, 3)):
        score(LmEval(task=str(world / "river.yaml"), limit=limit), tmp_path / f"{number}", policy=policy)
    assert [len(items["river"]) for _, items in lm_eval._LOADED.values()] == [1, 3]


@pytest.mark.slow
def test_an_evaluation_that_was_interrupted_goes_on_and_ends_in_the_same_numbers(
    questions: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: Counter[str] = Counter()
    states = Decoder.states

    def run(name: str, scratch: Path | None, told: Callable[[float, float, str], None]) -> Path:
        def counted(*asked: Any) -> Any:
            passes[name] += 1
            return states(*asked)

        monkeypatch.setattr(Decoder, "states", counted)
        out = tmp_path / name
        out.mkdir()
        inputs = {"data": questions, "policy": policy}
        LmEval(data="q").run(inputs, out, Runtime("cpu", told, tmp_path / "cache", scratch))
        return out

    def interrupt(done: float, total: float, what: str) -> None:
        if what == "tokens":
            raise KeyboardInterrupt

    run("first", None, lambda *_: None)  # which tries the model out
    with pytest.raises(KeyboardInterrupt):
        run("interrupted", tmp_path / "scratch", interrupt)
    resumed = run("resumed", tmp_path / "scratch", lambda *_: None)
    undisturbed = run("undisturbed", None, lambda *_: None)
    assert passes["interrupted"] + passes["resumed"] == passes["undisturbed"]
    assert passes["interrupted"]
    for file in ("items.parquet", "scores.parquet", "summary.json"):
        assert (resumed / file).read_bytes() == (undisturbed / file).read_bytes()
    [journal] = (tmp_path / "scratch").iterdir()
    assert journal.stat().st_size < 2**14
