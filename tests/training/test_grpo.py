import json
import sys
import textwrap
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from datatrial.errors import DataError, ModelError
from datatrial.records import Message, Runtime
from datatrial.rewards import reward_scores
from datatrial.tables import Table
from datatrial.training._reward_function import RewardFunction, checked
from datatrial.training.grpo import Grpo
from datatrial.training.sft import Sft
from tests import tiny

SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-2,
    "batch_size": 4,
    "max_length": 96,
    "num_generations": 4,
    "max_completion_length": 8,
}
SOURCE = """
def greys(completions, **_):
    return [float(text.count("e")) for text in completions]

def right(completions, prompts, messages, answers):
    assert all(turns[-1]["content"] in prompt for turns, prompt in zip(messages, prompts, strict=True))
    return [float(answer in text) for text, answer in zip(completions, answers, strict=True)]

def wrong(completions, **_):
    return [None for _ in completions]
"""


@pytest.fixture
def rewards(tmp_path: Path) -> Path:
    file = tmp_path / "my_rewards.py"
    file.write_text(SOURCE)
    return file


def grpo(**settings: Any) -> Grpo:
    return Grpo.model_validate({**SETTINGS, **settings})


def trained(store: Path, name: str, base: Path, rewards: Path, function: str = "greys", **settings: Any) -> Path:
    data = tiny.demonstrations(store / "demonstrations")
    stage = grpo(reward_function=f"{rewards}:{function}", **settings)
    return tiny.result(stage, store, name, policy=base, data=data, reward_function=rewards)


@pytest.mark.slow
@pytest.mark.parametrize(("lora", "rate"), [({}, 2e-2), (False, 2e-3)], ids=["adapter", "every weight"])
def test_the_reward_of_its_answers_goes_up(base: Path, tmp_path: Path, rewards: Path, lora: Any, rate: float) -> None:
    policy = trained(tmp_path, "a", base, rewards, epochs=4, learning_rate=rate, lora=lora, num_generations=8)
    reward = tiny.curve(policy, "reward")
    assert sum(reward[-5:]) / 5 > 1.5 * sum(reward[:2]) / 2 > 0
    assert (policy / ("weights" if lora is False else "adapter")).is_dir()


@pytest.mark.slow
def test_steps_are_whole_and_prompts_are_in_our_order(base: Path, tmp_path: Path, rewards: Path) -> None:
    policy = trained(tmp_path, "a", base, rewards, epochs=1, batch_size=5)
    counts = tiny.summary(policy)
    assert (counts["examples"], counts["steps"], counts["examples_seen"]) == (24, 5, 25)
    assert counts["tokens_seen"] > 0
    assert "eval_loss" not in set(pl.read_parquet(policy / "history.parquet")["metric"])


@pytest.mark.slow
def test_a_function_gets_the_datas_own_answers_and_held_out_prompts_are_rewarded(
    base: Path, tmp_path: Path, rewards: Path
) -> None:
    sft = Sft(learning_rate=5e-3, epochs=12, batch_size=4, max_length=96, held_out=0)
    data = tiny.demonstrations(tmp_path / "demonstrations")
    start = tiny.result(sft, tmp_path, "sft", policy=base, data=data)
    policy = trained(tmp_path, "a", start, rewards, "right", epochs=2, held_out=0.25, learning_rate=1e-3)
    assert sum(tiny.curve(policy, "reward")) > 0
    assert len(tiny.curve(policy, "eval_reward")) == 4  # at the start, and every third of nine steps
    assert all(0 <= reward <= 1 for reward in tiny.curve(policy, "eval_reward"))


@pytest.mark.slow
def test_rewards_of_a_model_are_its_scores(base: Path, reward_model: Path, tmp_path: Path) -> None:
    from datatrial.training._grpo import reward_of

    data = Table.read(tiny.demonstrations(tmp_path / "d", 6))
    stage = grpo(reward_model="judge")
    given = reward_of(stage, {"reward_model": reward_model}, data, Runtime())
    turns = [row[:-1] for row in data.rows["messages"].to_list()]
    said = ["red", " blue\n", "grey grey", "", "green", "red red"]
    found = given(prompts=["" for _ in said], completions=said, turns=turns, answer=said)
    asked = [[*t, Message(role="assistant", content=text.strip())] for t, text in zip(turns, said, strict=True)]
    assert list(found) == pytest.approx(reward_scores(reward_model, asked, "cpu", lambda *_: None), abs=1e-5)
    assert len({round(reward, 3) for reward in found}) > 3


@pytest.mark.slow
def test_it_learns_from_a_reward_model(base: Path, reward_model: Path, reward_pairs: Path, tmp_path: Path) -> None:
    stage = grpo(reward_model="judge", epochs=2, num_generations=8)
    policy = tiny.result(stage, tmp_path, "a", policy=base, data=reward_pairs, reward_model=reward_model)
    rewards = tiny.curve(policy, "rewards/reward_model/mean")
    assert rewards == tiny.curve(policy, "reward")
    assert len(rewards) >= 20


@pytest.mark.slow
def test_in_parts_it_learns_what_it_learns_at_once(
    base: Path, tmp_path: Path, rewards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datatrial.training import _grpo
    from datatrial.training._at_once import AtOnce

    whole = trained(tmp_path, "whole", base, rewards, epochs=0.5)
    monkeypatch.setattr(_grpo, "fitting_at_once", lambda *_: AtOnce(2 * 96, checkpointing=False))
    parts = trained(tmp_path, "parts", base, rewards, epochs=0.5)
    assert tiny.curve(parts, "reward") == tiny.curve(whole, "reward")
    assert tiny.curve(parts, "grad_norm") == pytest.approx(tiny.curve(whole, "grad_norm"), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [{}, False], ids=["adapter", "every weight"])
def test_the_reference_is_the_policy_that_training_starts_from(
    base: Path, tmp_path: Path, rewards: Path, lora: Any
) -> None:
    """After SFT with a LoRA, too: the divergence is 0 before anything is learned, and then it is not."""
    sft = Sft(learning_rate=2e-2, epochs=4, batch_size=4, max_length=96, held_out=0)
    start = tiny.result(sft, tmp_path, "sft", policy=base, data=tiny.demonstrations(tmp_path / "demonstrations"))
    rate = 1e-2 if lora is not False else 1e-3
    policy = trained(tmp_path, "a", start, rewards, epochs=1, beta=0.1, learning_rate=rate, lora=lora)
    divergence = tiny.curve(policy, "kl")
    assert divergence[0] == pytest.approx(0, abs=1e-5)
    assert divergence[-1] > 1e-4


@pytest.mark.slow
def test_prompts_lose_their_start_to_leave_room_for_answers(base: Path, tmp_path: Path, rewards: Path) -> None:
    counts = tiny.summary(trained(tmp_path, "a", base, rewards, epochs=0.2, max_length=24))
    assert counts["prompts_cut"] == 24
    with pytest.raises(ModelError, match="takes 256 tokens: lower max_completion_length"):
        grpo(reward_model="j", max_length=900, max_completion_length=400).longest_prompt(256)


@pytest.mark.slow
def test_rewards_that_are_no_numbers_end_the_run_by_name(base: Path, tmp_path: Path, rewards: Path) -> None:
    with pytest.raises(DataError, match="reward function 'wrong' gave None: a reward should be a finite number"):
        trained(tmp_path, "a", base, rewards, "wrong")


def test_a_function_that_is_edited_gives_another_result(rewards: Path, tmp_path: Path) -> None:
    from datatrial.engine.step import Step
    from datatrial.externals import Lock, Resolver

    def digest(file: Path) -> str:
        stage = grpo(reward_function=f"{file}:greys")
        resolver = Resolver(Lock.beside(None), None, tmp_path / "digests.json", False)
        return Step(stage, {}, {name: resolver.resolve(need) for name, need in stage.needs().items()}).digest

    elsewhere = tmp_path / "other.py"
    elsewhere.write_text(SOURCE)
    before = digest(rewards)
    assert digest(elsewhere) == before  # contents count, not places
    elsewhere.write_text(SOURCE.replace('"e"', '"a"'))
    assert digest(elsewhere) != before


def test_a_module_that_is_installed_has_functions_too() -> None:
    found = RewardFunction.model_validate("json.decoder:scanstring")
    assert found.file.name == "decoder.py"
    assert found.problems() == []
    assert found.load(found.file)
    with pytest.raises(ValidationError, match=r"no module 'json\.decodr' here"):
        RewardFunction.model_validate("json.decodr:scanstring")
    with pytest.raises(ValidationError, match=r"should be my_rewards\.py:name"):
        RewardFunction.model_validate("greys")


FUNCTION = "def polite(completions, **_):\n    return [0.0 for _ in completions]\n"


@pytest.mark.parametrize(
    "source",
    [
        "class Judge:\n    def __call__(self, completions, **_):\n        return [0.0] * len(completions)\n\n"
        "polite: Judge = Judge()\n",
        f"try:\n    import nowhere_to_be_found\nexcept ImportError:\n{textwrap.indent(FUNCTION, '    ')}",
        f"if len('ab') == 3:\n    pass\nelse:\n{textwrap.indent(FUNCTION, '    ')}",
        "rough, polite = None, lambda completions, **_: [0.0] * len(completions)\n",
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n\n"
        f"@dataclass\nclass Weights:\n    words: float = 1.0\n    most: ClassVar[int] = 9\n\n{FUNCTION}",
        "from my_rewards_of_all import *\n",
    ],
    ids=["an object", "try", "if", "several at once", "dataclass", "star"],
)
def test_a_reward_function_may_come_about_in_any_way(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_rewards_of_all.py").write_text(FUNCTION)
    file = tmp_path / "my_rewards.py"
    file.write_text(source)
    found = RewardFunction.model_validate(f"{file}:polite")
    assert found.problems() == []
    assert list(found.load(file)(completions=["a", "b"])) == [0.0, 0.0]


def test_a_file_of_rewards_takes_no_module_s_place(tmp_path: Path) -> None:
    file = tmp_path / "json.py"
    file.write_text(FUNCTION)
    assert RewardFunction.model_validate(f"{file}:polite").load(file)
    assert sys.modules["json"] is json


def test_what_a_file_of_rewards_only_mentions_it_does_not_have(tmp_path: Path) -> None:
    file = tmp_path / "my_rewards.py"
    file.write_text("def nice(completions):\n    polite = 1\n    return [rude(polite)]\n\nprint(rude)\n")
    [problem] = RewardFunction.model_validate(f"{file}:polite").problems()
    assert problem == f"{file} has no 'polite'; known: nice"
    assert RewardFunction.model_validate(f"{file}:rude").problems()


def test_a_package_that_another_finder_knows_is_found_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "elsewhere" / "sources"
    (place / "inner" / "rewards").mkdir(parents=True)
    (place / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (place / "inner" / "rewards" / "short.py").write_text(FUNCTION)

    class Editable(MetaPathFinder):
        def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
            return spec_from_file_location(name, place / "__init__.py") if name == "my_package" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable()])
    found = RewardFunction.model_validate("my_package.inner.rewards.short:polite")
    assert found.file == place / "inner" / "rewards" / "short.py"
    assert found.problems() == []


def test_one_reward_and_no_more_and_a_length_that_is_known() -> None:
    for settings in ({}, {"reward_model": "judge", "reward_function": "json:loads"}):
        with pytest.raises(ValidationError, match="exactly one of `reward_function` and `reward_model`"):
            grpo(**settings)
    with pytest.raises(ValidationError, match="not known beforehand"):
        grpo(reward_model="judge", budget={"tokens": 1000})
    with pytest.raises(ValidationError, match="max_completion_length should be below max_length"):
        grpo(reward_model="judge", max_completion_length=96)


def test_rewards_are_counted() -> None:
    with pytest.raises(DataError, match="gave 1 rewards for 2 answers"):
        checked(lambda **_: [1.0], "short")(completions=["a", "b"])
    with pytest.raises(DataError, match="'none' gave None: it should give a number for each answer"):
        checked(lambda **_: None, "none")(completions=["a", "b"])  # type: ignore[arg-type, return-value]


def test_a_reward_function_that_raises_is_named_with_its_line() -> None:
    def divides(completions: list[str], **_: Any) -> list[float]:
        return [1 / (len(text) - len(text)) for text in completions]

    with pytest.raises(DataError, match=r"'divides' raised ZeroDivisionError: .* \(test_grpo.py, line \d+\)"):
        checked(divides, "divides")(["a"])
    with pytest.raises(DataError, match=r"'lazy' raised ZeroDivisionError"):
        checked(lambda **_: (1 / 0 for _ in "ab"), "lazy")(["a"])  # type: ignore[arg-type, return-value]
    with pytest.raises(DataError, match=r"'exits' raised SystemExit"):
        checked(lambda **_: sys.exit(3), "exits")(["a"])
    with pytest.raises(DataError, match=r"'list' raised TypeError"):
        checked(list, "list")(["a"])  # type: ignore[arg-type]
