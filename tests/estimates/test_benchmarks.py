"""Items and requests of benchmarks, and what they let a study detect."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from datatrial.data_set import DataSet
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.estimates.benchmarks import BenchmarkSize, benchmark_size, table
from datatrial.estimates.devices import device_of
from datatrial.estimates.policies import Policy, published
from datatrial.estimates.scoring import answering_estimate, scoring_estimate
from datatrial.evaluation._base import Benchmark, Workload
from datatrial.evaluation.group_safety import GroupSafety
from datatrial.evaluation.lm_eval import LmEval
from datatrial.evaluation.reward import RewardOfAnswers
from datatrial.externals import LocalExternal
from datatrial.likelihood.budget import budget_for
from datatrial.memory import scoring_activations
from datatrial.records import Runtime
from datatrial.shapes import Shape

LLAMA = Policy("llama", published()["meta-llama/llama-2-7b-hf"], "bfloat16", True, 4.0)


def size(tmp_path: Path, **settings: Any) -> BenchmarkSize:
    return benchmark_size(Step(LmEval.model_validate(settings)), Store(tmp_path))


@pytest.mark.parametrize(
    ("task", "items"),
    [("arc_challenge", 1172), ("piqa", 1838), ("hellaswag", 10042), ("mmlu", 14042), ("toxigen", 940),
     ("truthfulqa_mc2", 817)],
)  # fmt: skip
def test_the_papers_benchmarks_have_their_published_items(tmp_path: Path, task: str, items: int) -> None:
    assert size(tmp_path, task=task).items == items


def test_a_limit_is_of_each_task(tmp_path: Path) -> None:
    assert size(tmp_path, task="arc_challenge", limit=100).items == 100
    assert size(tmp_path, task="mmlu", limit=100).items == 57 * 100


def asked(found: BenchmarkSize, policy: Policy = LLAMA) -> float:
    tokens = scoring_estimate(found, policy, device_of("h200")).tokens
    assert tokens
    return tokens


def test_shots_come_before_the_question_and_not_where_a_task_has_none(tmp_path: Path) -> None:
    without, five = (size(tmp_path, task="arc_challenge", num_fewshot=n) for n in (None, 5))
    assert 4 < asked(five) / asked(without) < 5  # of the question itself all four choices count
    [fixed] = size(tmp_path, task="truthfulqa_mc2", num_fewshot=5).tasks
    assert fixed.shots == 0


def test_shots_that_questions_share_are_read_once(tmp_path: Path) -> None:
    without, five = (asked(size(tmp_path, task="mmlu", num_fewshot=n)) for n in (None, 5))
    assert five < 1.1 * without  # five of a subject's, before a hundred questions and more
    own, same = (asked(size(tmp_path, task="arc_challenge", num_fewshot=25, fewshot=f)) for f in (None, "shared"))
    assert same < own / 10


def test_what_does_not_fit_the_window_shares_nothing(tmp_path: Path) -> None:
    short = replace(LLAMA, shape=replace(published()["meta-llama/llama-2-7b-hf"], longest=256))
    assert asked(size(tmp_path, task="arc_challenge", num_fewshot=25), short) == 4 * 1172 * 256


def test_what_is_on_this_disk_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "allenai" / "ai2_arc" / "ARC-Challenge"
    folder.mkdir(parents=True)
    pl.DataFrame({"question": ["?"] * 31}).write_parquet(folder / "test-00000-of-00001.parquet")
    external = LocalExternal(tmp_path / "allenai" / "ai2_arc", "digest")
    step = Step(LmEval(task="arc_challenge"), {}, {"data/allenai/ai2_arc": external})
    assert benchmark_size(step, Store(tmp_path)).items == 31


def test_an_unknown_task_has_no_invented_size(tmp_path: Path) -> None:
    found = size(tmp_path, task="sciq")
    assert found.items is None
    assert found.notes == ("sciq: number of items unknown",)
    assert scoring_estimate(found, LLAMA, device_of("h200")).tokens is None


def test_safenlps_groups_are_the_papers() -> None:
    row = table()["statements"]["safenlp"]
    assert row["items"] == 6514
    assert len(row["groups"]) == 13
    # Sentences that are about several groups count for each, so the mean knows less than all sentences would tell.
    assert row["mean"]["harmful"] + row["mean"]["benign"] < 6514 < sum(sum(g.values()) for g in row["groups"].values())


@pytest.mark.parametrize(("file", "groups"), [("toxigen", 13), ("implicit_hate", 0)])
def test_the_packaged_groups_are_those_of_one_file_of_safenlp(tmp_path: Path, file: str, groups: int) -> None:
    data = Step(DataSet.model_validate({"source": {"kind": "safenlp", "file": file}}))
    found = benchmark_size(Step(GroupSafety(data="statements"), {"data": data}), Store(tmp_path))
    assert len(found.groups or {}) == groups
    assert found.items == (6514 if groups else None)


def test_what_requests_share_is_computed_once(tmp_path: Path) -> None:
    found = scoring_estimate(size(tmp_path, task="hellaswag"), LLAMA, device_of("h200"))
    assert found.requests == 4 * 10042
    assert found.tokens == pytest.approx(10042 * (138.7 + 4 * 72.7) / 4, rel=0.1)  # characters, four to a token
    primer = size(tmp_path, task="truthfulqa_mc2")
    [task] = primer.tasks
    assert task.context
    assert asked(primer) < 817 * task.context / 4  # the same six questions and answers come before each question


def test_logits_are_needed_where_a_choice_is_expected(tmp_path: Path) -> None:
    shape, device = published()["meta-llama/llama-2-7b-hf"], device_of("h200")
    letters, endings = (scoring_estimate(size(tmp_path, task=task), LLAMA, device) for task in ("mmlu", "hellaswag"))
    assert letters.work
    assert endings.work
    assert letters.tokens
    assert endings.tokens
    heads = [found.work.flops / (2 * shape.used * found.tokens) for found in (letters, endings) if found.work]
    assert heads[0] < heads[1]


def test_the_budget_is_halved_until_it_fits(tmp_path: Path) -> None:
    device, mmlu = device_of("rtx-4090"), size(tmp_path, task="mmlu")
    assert device
    whole = scoring_estimate(mmlu, LLAMA, device).memory
    assert whole
    less = replace(device, memory=0.95 * whole.total)
    halved = scoring_estimate(mmlu, LLAMA, less).memory
    assert halved
    assert whole.weights < halved.total <= less.memory


def test_the_table_says_where_it_is_from() -> None:
    assert "benchmark_sizes.py" in table()["about"]
    assert json.dumps(table()).isascii()


class Silent(Benchmark):
    """A kind of benchmark that says nothing of what it asks."""

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None: ...


class Pairs(Silent):
    """A kind of benchmark that estimates were not told of."""

    @property
    def workload(self) -> Workload:
        return Workload("sentences", limit=500)


def on_lima(task: Benchmark, tmp_path: Path) -> BenchmarkSize:
    data = Step(DataSet.model_validate({"source": {"kind": "lima"}}))
    return benchmark_size(Step(task, {"data": data}), Store(tmp_path))


def test_any_benchmark_can_say_what_it_asks(tmp_path: Path) -> None:
    found = on_lima(Pairs(data="lima"), tmp_path)
    assert (found.items, found.notes) == (500, ())
    assert scoring_estimate(found, LLAMA, device_of("h200")).tokens
    silent = on_lima(Silent(data="lima", name="quiet"), tmp_path)
    assert (silent.items, silent.notes) == (None, ("quiet: its kind does not say how much it asks",))


def test_answers_cost_as_many_tokens_as_the_benchmark_lets_them_have(tmp_path: Path) -> None:
    def tokens(new: int) -> float:
        judged = RewardOfAnswers(data="lima", reward_model="judge", limit=10, max_new_tokens=new)
        found = answering_estimate(on_lima(judged, tmp_path), LLAMA, device_of("h200"), judged.workload, prompt=50.0)
        return found.tokens or 0.0

    # Read and written once, then the answer and the data set's own go through the reward model with the prompt.
    assert (tokens(100), tokens(200)) == (10 * 3 * 150, 10 * 3 * 250)


def test_the_budget_is_that_of_a_run(tmp_path: Path) -> None:
    model = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, vocab_size=1000))
    budget = budget_for(model)
    shape = Shape(32, 64, 1, 32, 32, 1, 1000)
    memory = scoring_estimate(
        size(tmp_path, task="piqa"), Policy("m", shape, "float32", False, 4.0), device_of("cpu")
    ).memory
    assert memory
    assert memory.logits == budget.logits * 1000 * 8
    assert memory.activations == scoring_activations(shape, budget.tokens, 4)
