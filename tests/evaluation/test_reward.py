"""The answers of a policy against the data set's own, as a reward model sees them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from datatrial.component import Component
from datatrial.effects import EvaluationRun
from datatrial.errors import DataError, ModelError
from datatrial.evaluation.reward import RewardOfAnswers
from datatrial.records import PartOfStudy, Runtime
from datatrial.rewards import RewardModel
from datatrial.statistics.contrasts import Contrasts
from datatrial.training.reward import Reward
from tests import tiny
from tests.evaluation.conftest import make_policy

BENCHMARK = RewardOfAnswers(reward_model="judge", data="asked", max_new_tokens=12)
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def judge(policy: Path, store: Path) -> Path:
    """A reward model on the random policy: which answers it likes is fixed, and of no meaning."""
    stage = Reward(learning_rate=1e-2, epochs=1, batch_size=8, max_length=96, held_out=0)
    return tiny.result(stage, store, "judge", policy=policy, data=tiny.comparisons(store / "pairs", 16))


@pytest.fixture(scope="module")
def asked(store: Path) -> Path:
    return tiny.comparisons(store / "asked", 10)


@pytest.fixture(scope="module")
def scored(policy: Path, judge: Path, asked: Path, store: Path) -> Path:
    return tiny.result(BENCHMARK, store, "scored", policy=policy, data=asked, reward_model=judge)


def read(result: Path) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    scores, items = (pl.read_parquet(result / f"{name}.parquet") for name in ("scores", "items"))
    return scores, items, json.loads((result / "summary.json").read_text())


def of(scores: pl.DataFrame, metric: str) -> list[float]:
    return scores.filter(pl.col("metric") == metric)["value"].to_list()


@slow
def test_an_answer_wins_that_gets_more_reward_than_the_data_sets_own(scored: Path, judge: Path) -> None:
    scores, items, summary = read(scored)
    model = RewardModel.load(judge, "cpu")
    wins, rewards = [], []
    for row in items.to_dicts():
        ask, reward = {"role": "user", "content": row["question"]}, {}
        for whose in ("response", "target"):
            turns: Any = [ask, {"role": "assistant", "content": row[whose]}]
            [reward[whose]] = model.rewards([turns], lambda *_: None)
        wins.append(float(reward["response"] > reward["target"]))
        rewards.append(reward["response"])
    assert of(scores, "win_rate") == wins
    assert 0 < sum(wins) < 10
    assert of(scores, "reward") == pytest.approx(rewards, abs=1e-5)
    assert summary["metrics"]["win_rate"] == sum(wins) / 10
    assert summary["metrics"]["reward"] == pytest.approx(sum(rewards) / 10, abs=1e-5)


@slow
def test_it_writes_what_the_statistics_and_the_report_read(scored: Path, asked: Path) -> None:
    scores, items, summary = read(scored)
    assert scores.schema == {"item": pl.String, "stratum": pl.String, "metric": pl.String, "value": pl.Float64}
    assert scores["metric"].unique(maintain_order=True).to_list() == ["win_rate", "reward", "answer_tokens", "cut"]
    assert scores["item"].to_list() == [str(n) for n in range(10)] * 4
    assert {"item", "question", "choices", "chosen", "right", "response", "target"} <= set(items.columns)
    rows = pl.read_parquet(asked / "rows.parquet")
    assert items["target"].to_list() == rows["chosen"].to_list()
    assert items["question"].to_list() == [row[0]["content"] for row in rows["messages"]]
    wanted = {"statistic": "mean", "metric": "win_rate", "higher_is_better": True, "chance": {}, "majority": {}}
    assert {key: summary[key] for key in wanted} == wanted
    assert (summary["items"], summary["same_answer"]) == (10, None)
    assert summary["scoring"]["method"] == "trie"
    assert summary["reward_of_data"] == pytest.approx(items["target_reward"].mean())
    assert any("reward models tend to favour long answers" in note for note in summary["notes"])


@slow
def test_arms_are_compared_prompt_by_prompt(
    scored: Path, policy: Path, judge: Path, asked: Path, tmp_path: Path
) -> None:
    other = tiny.result(
        BENCHMARK, tmp_path, "other", policy=make_policy(tmp_path / "p", seed=1), data=asked, reward_model=judge
    )
    # What the data set's own answers get does not depend on the arm, but for rounding.
    own = [read(result)[1]["target_reward"].to_list() for result in (scored, other)]
    assert own[0] == pytest.approx(own[1], abs=1e-5)
    runs = (EvaluationRun("base", None, "judge", "a"), EvaluationRun("arm", 0, "judge", "b"))
    out = tmp_path / "out"
    out.mkdir()
    Contrasts(runs=runs, baseline="base", resamples=200).run({"a": scored, "b": other}, out, Runtime())
    [contrast] = pl.read_parquet(out / "contrasts.parquet").to_dicts()
    ours, theirs = (of(read(result)[0], "win_rate") for result in (other, scored))
    assert contrast["estimate"] == pytest.approx((sum(ours) - sum(theirs)) / 10)
    assert (contrast["endpoint"], contrast["items"]) == ("judge", 10)
    found = pl.read_parquet(out / "scores.parquet")
    assert found.filter("main")["metric"].unique().to_list() == ["win_rate"]
    assert set(found["metric"]) == {"win_rate", "reward", "answer_tokens", "cut"}


@slow
def test_word_for_word_the_same_answer_is_a_tie_and_an_answer_without_room_is_left_out(
    policy: Path, judge: Path, scored: Path, tmp_path: Path
) -> None:
    items = read(scored)[1]
    asks = [*items["question"].to_list()[:3], "Why? " * 30]
    own = [*items["response"].to_list()[:2], "grey", "grey"]
    turns = [
        [{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in zip(asks, own, strict=True)
    ]
    data = tiny.table(tmp_path / "d", "demonstrations", [{"messages": row} for row in turns])
    result = tiny.result(BENCHMARK, tmp_path, "r", policy=policy, data=data, reward_model=judge)
    scores, _, summary = read(result)
    assert of(scores, "win_rate")[:2] == [0.5, 0.5]
    assert scores["item"].unique().sort().to_list() == ["0", "1", "2"]
    assert "1 of 4 prompts leave no room for an answer in the reward model's max_length" in summary["notes"]


@slow
def test_answers_that_reach_the_limit_are_counted_and_long_prompts_told(
    policy: Path, judge: Path, asked: Path, tmp_path: Path
) -> None:
    few = BENCHMARK.model_copy(update={"limit": 3, "max_new_tokens": 2})
    scores, items, summary = read(tiny.result(few, tmp_path, "few", policy=policy, data=asked, reward_model=judge))
    assert items.height == 3
    assert of(scores, "cut") == [float(not ended) for ended in items["ended"]] == [1, 1, 1]
    assert of(scores, "answer_tokens") == items["tokens"].to_list()
    assert "answers were cut at max_new_tokens (2) and scored as they were: see `cut`" in summary["notes"]
    assert not any("lost their beginning" in note for note in summary["notes"])
    small = make_policy(tmp_path / "small", window=32)
    _, _, summary = read(tiny.result(few, tmp_path, "small", policy=small, data=asked, reward_model=judge))
    assert "3 of 3 prompts lost their beginning to fit into the model" in summary["notes"]


@slow
def test_what_cannot_be_used_is_one_clear_error(policy: Path, judge: Path, asked: Path, tmp_path: Path) -> None:
    documents = tiny.table(tmp_path / "documents", "documents", [{"text": "A tarrik."}])
    with pytest.raises(
        DataError, match="asks the prompts of demonstrations or comparisons; its data set holds documents"
    ):
        tiny.result(BENCHMARK, tmp_path, "a", policy=policy, data=documents, reward_model=judge)
    with pytest.raises(ModelError, match="is no reward model"):
        tiny.result(BENCHMARK, tmp_path, "b", policy=policy, data=asked, reward_model=policy)
    with pytest.raises(ModelError, match="a reward model's: it scores answers and gives none"):
        tiny.result(BENCHMARK, tmp_path, "c", policy=judge, data=asked, reward_model=judge)
    turns = [{"role": "user", "content": "Why? " * 40}, {"role": "assistant", "content": "grey"}]
    long = tiny.table(tmp_path / "long", "demonstrations", [{"messages": turns}])
    with pytest.raises(DataError, match="no prompt leaves room for an answer"):
        tiny.result(BENCHMARK, tmp_path, "d", policy=policy, data=long, reward_model=judge)


def parsed(**fields: Any) -> Component:
    return RewardOfAnswers.model_validate({"reward_model": "judge", "data": "asked", **fields})


def test_what_things_are_called_is_no_part_of_what_the_result_is() -> None:
    assert parsed().identity() == parsed(name="n", reward_model="other", data="d").identity()
    for other in ({"limit": 5}, {"max_new_tokens": 5}, {"prompt": "chat"}):
        assert parsed().identity() != parsed(**other).identity()


def test_it_asks_in_the_studys_prompt_format_unless_told_otherwise() -> None:
    assert BENCHMARK.asked_in("transcript").prompt == "transcript"
    assert BENCHMARK.model_copy(update={"prompt": "chat"}).asked_in("transcript").prompt == "chat"


def test_it_reads_a_data_set_and_a_reward_model_of_the_study() -> None:
    assert BENCHMARK.reads() == {
        "data": PartOfStudy("data", "asked", ("demonstrations", "comparisons")),
        "reward_model": PartOfStudy("reward_model", "judge"),
    }
    assert BENCHMARK.model_copy(update={"limit": 3, "prompt": "chat"}).bare == RewardOfAnswers(
        reward_model="judge", data="asked"
    )


def test_a_missing_data_set_or_reward_model_is_said() -> None:
    with pytest.raises(ValidationError, match="`data` is missing: a data set of demonstrations or comparisons"):
        RewardOfAnswers.model_validate({"reward_model": "judge"})
    with pytest.raises(ValidationError, match=r"reward_model\n.*required"):
        RewardOfAnswers.model_validate({"data": "asked"})


def test_planning_with_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from datatrial.evaluation.reward import RewardOfAnswers as B; import datatrial.training.reward; "
        "B(reward_model='j', data='d').identity(); "
        "heavy = {'torch', 'trl', 'transformers', 'peft', 'datasets', 'polars'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
