"""Adapters as folders that PEFT reads, each with a model card."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from datatrial.engine.step import Step
from datatrial.export._finished import Finished
from datatrial.export.adapters import BaseModel, base_of, write
from datatrial.export.card import _recipe, plain
from datatrial.hub import HubExternal
from datatrial.models.hub import Hub
from datatrial.records import HubFiles, read_json
from datatrial.training.sft import Sft
from datatrial.tuning.tuned import Tuned
from tests.export.conftest import STUDY, made

pytestmark = pytest.mark.slow


def front_matter(card: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)---\n", card, re.DOTALL)
    assert found
    read: dict[str, Any] = yaml.safe_load(found[1])
    return read


def test_every_trained_run_has_an_adapter_and_nothing_of_the_base_but_its_tokenizer(exported: Path) -> None:
    folders = {path.name: {file.name for file in path.iterdir()} for path in (exported / "adapters").iterdir()}
    assert set(folders) == {"careful-seed-0", "careful+pairs-seed-0"}
    for files in folders.values():
        assert files == {
            "README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"
        }  # fmt: skip


def test_peft_loads_it_as_the_policy_that_was_scored(exported: Path, finished: Finished) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from datatrial.policies import load_policy

    run = next(run for run, _ in finished.runs if run.arm == "careful+pairs")
    folder = exported / "adapters" / "careful+pairs-seed-0"
    base = AutoModelForCausalLM.from_pretrained(finished.model(run.policy).weights, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(folder), use_safetensors=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    scored, own = load_policy(finished.store.path(run.policy), "cpu")
    ids = tokenizer("Question: who?\n\nAnswer: me", return_tensors="pt")["input_ids"]
    assert torch.equal(ids, own("Question: who?\n\nAnswer: me", return_tensors="pt")["input_ids"])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, scored(ids).logits)
        with model.disable_adapter():
            assert not torch.equal(model(ids).logits, scored(ids).logits)


def test_the_config_names_no_place_on_this_machine(exported: Path) -> None:
    config = read_json(exported / "adapters" / "careful-seed-0" / "adapter_config.json")
    assert config["base_model_name_or_path"] is None  # the study trained it: it has no name elsewhere
    assert config["r"] == 4


def test_a_base_from_the_hub_is_named_with_its_commit(finished: Finished) -> None:
    external = HubExternal(HubFiles("org/base", "model"), "c0ffee" * 6 + "beef")
    start = Step(Hub(path="org/base"), {}, {"weights": external})
    trained = SimpleNamespace(inputs={"policy": start})
    run: Any = SimpleNamespace(stages=((None, trained),))
    without_adapter: Any = SimpleNamespace(model=lambda _: SimpleNamespace(adapter=None))
    base = base_of(without_adapter, run)
    assert (base.repo, base.revision) == ("org/base", external.commit)
    assert base.words == f"`org/base` at `{external.commit}`"
    on_adapter: Any = SimpleNamespace(model=lambda step: SimpleNamespace(adapter="a" if step is first else None))
    first = Step(Hub(path="org/adapter"), {"base": start}, {"weights": external})
    trained.inputs["policy"] = first
    assert base_of(on_adapter, run).repo == "org/base"


def test_a_local_base_is_named_without_its_folder(tmp_path: Path) -> None:
    words = BaseModel(Step(Hub(path=str(tmp_path / "my-base")))).words
    assert "my-base" in words
    assert str(tmp_path) not in words
    hostile = BaseModel(Step(Hub(path=str(tmp_path / "a` <img src=x>\n# b")))).words
    assert hostile.endswith("called `a' <img src=x>\n# b`".replace("\n", "\\n"))


def test_the_card_says_what_it_was_trained_on_and_how(exported: Path) -> None:
    card = (exported / "adapters" / "careful+pairs-seed-0" / "README.md").read_text(encoding="utf-8")
    assert front_matter(card) == {
        "library_name": "peft", "pipeline_tag": "text-generation", "tags": ["datatrial", "lora", "sft", "dpo"]
    }  # fmt: skip
    assert re.search(r"\| careful \| 30 \| demonstrations \| \S+ \| micro-world 3 \| program \| 10 left out: ", card)
    recipe = yaml.safe_load(card.partition("## How it was trained\n\n```yaml\n")[2].partition("```")[0])
    assert [(stage["stage"], stage["settings"]["learning_rate"]) for stage in recipe] == [("sft", 1e-3), ("dpo", 1e-3)]


def test_the_card_of_a_stage_whose_settings_were_picked_has_those_it_was_trained_with(tmp_path: Path) -> None:
    picked = {"settings": {"learning_rate": 1e-2}, "candidates": [{"learning_rate": 1e-3}, {"learning_rate": 1e-2}]}
    (tmp_path / "training.json").write_text(json.dumps({"steps": 3, "picked": picked}))
    task = Tuned(stage=Sft(learning_rate=1e-3), settings=tuple(picked["candidates"]), first_seed=True)
    run: Any = SimpleNamespace(stages=((SimpleNamespace(kind="sft", target="notes"), Step(task)),))
    finished: Any = SimpleNamespace(store=SimpleNamespace(path=lambda step: tmp_path))
    [stage] = yaml.safe_load(_recipe(finished, run).removeprefix("```yaml\n").removesuffix("```\n"))
    assert stage["settings"]["learning_rate"] == 1e-2
    assert "candidates" not in stage["settings"]
    assert "first_seed" not in stage["settings"]
    assert stage["counted"]["picked"] == picked


def test_the_card_has_the_studys_findings_and_cautions(exported: Path, finished: Finished) -> None:
    card = (exported / "adapters" / "careful+pairs-seed-0" / "README.md").read_text(encoding="utf-8")
    analysis = finished.findings.analysis
    for benchmark in ("science", "stories", "safety"):
        delta = analysis.delta("careful+pairs", benchmark)
        assert delta
        [line] = [line for line in card.splitlines() if line.startswith(f"| {benchmark} (")]
        assert f"| {delta.verdict} |" in line
        assert line.count("[") >= 2  # intervals of the score and of the difference
    assert r"- Pairs help \| a \<lot\>: careful+pairs − careful on science was expected to be better: **" in card
    assert "This is a toy" in card
    assert "single seed" in card or "one seed" in card


def test_an_own_score_is_that_of_the_run_and_not_the_arms_mean(finished: Finished) -> None:
    from datatrial.export.card import _own

    run = next(run for run, _ in finished.runs if run.arm == "careful")
    summary = read_json(finished.store.path(run.scores["science"]) / "summary.json")
    assert _own(finished, run, "science") == summary["metrics"]["acc"]
    assert _own(finished, replace(run, scores={}), "science") is None


def test_names_cannot_break_a_card() -> None:
    assert plain("a\n# b | *c* <d> `e` [f](g)") == r"a \# b \| \*c\* \<d\> \`e\` \[f\](g)"


def test_where_every_weight_was_trained_the_model_is_exported(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from datatrial.policies import load_policy

    text = STUDY[: STUDY.index("  - {kind: lm_eval, data: stories")]
    arms = "whole: [{sft: careful, lora: false}]\n  whole+pairs: [{sft: careful, lora: false}, {dpo: pairs}]\n"
    text = text[: text.index("  careful: [{sft")] + f"  {arms}" + text[text.index("benchmarks:") :]
    finished = Finished(made(tmp_path, text))
    write(finished, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "adapters").iterdir()} == {"whole+pairs-seed-0"}
    [folder] = (tmp_path / "out" / "models").iterdir()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    runs = {run.arm: run for run, _ in finished.runs}
    scored, _ = load_policy(finished.store.path(runs["whole"].policy), "cpu")
    ids = tokenizer("Question: who?\n\nAnswer: me", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, scored(ids).logits)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert front_matter(card)["library_name"] == "transformers"
    assert "with every weight trained, by datatrial" in card
    assert 'AutoModelForCausalLM.from_pretrained("this-folder")' in card
    [(_, first), _] = runs["whole+pairs"].stages
    on_top = (tmp_path / "out" / "adapters" / "whole+pairs-seed-0" / "README.md").read_text(encoding="utf-8")
    assert f"`sft/{first.digest}/weights`" in on_top
