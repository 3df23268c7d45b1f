"""The studies that ship with the repository: they hold together, and the paper's says what the paper says."""

from pathlib import Path

import pytest

from datatrial.planner import plan
from datatrial.reference import Reference
from datatrial.study import Study
from datatrial.yaml_file import YamlFile, value_at

STUDIES = Path(__file__).parents[1] / "studies"


@pytest.fixture
def load():
    return lambda name: Study.load(STUDIES / name)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_plans_without_network_or_data(path, load):
    assert plan(load(path.name)).steps


def test_the_paper_s_study_has_its_arms_benchmarks_groups_and_claims(load):
    study, paper = load("paper.yaml"), Reference.load("paper")
    assert study.model.path == paper.about["model"]
    assert set(study.arms) == set(paper.arms)
    assert {benchmark.title for benchmark in study.benchmarks} == {*paper.benchmarks, "safety"}
    declared = {(c.claim, c.arm, c.against, c.on, c.expectation, c.margin) for c in study.contrasts}
    published = [(part, claim.text) for claim in paper.claims for part in claim.parts]
    assert declared == {(text, p.arm, p.against, p.on, p.expectation, p.margin) for p, text in published}


def test_the_paper_s_study_trains_by_the_stated_settings_and_the_recipe(load):
    study = load("paper.yaml")
    sft, dpo = (study.stage(entry, 0) for entry in study.arms["sft-orca+dpo-hh"])
    assert (study.model.quantization, study.prompt, study.max_length) == ("nf4", "question_answer", 1024)
    for stage in (sft, dpo):
        assert (stage.lora.r, stage.lora.alpha, stage.lora.dropout) == (8, 16, 0.05)
        assert stage.lora.target_modules == ("q_proj", "v_proj")
        assert stage.trl == {
            "lr_scheduler_type": "cosine",
            "warmup_steps": 100,
            "weight_decay": 0.05,
            "optim": "paged_adamw_32bit",
        }
    assert (sft.learning_rate, sft.batch_size, sft.budget.steps, sft.packing) == (1e-4, 8, 500, True)
    assert (dpo.learning_rate, dpo.batch_size, dpo.budget.steps, dpo.beta) == (5e-4, 16, 1000, 0.1)
    assert dpo.max_prompt_length == 512


def test_what_the_paper_leaves_open_is_marked_with_a_reason(load):
    assumed = load("paper.yaml").assumptions
    for place in ("training.sft.learning_rate", "training.dpo.beta", "lora.target_modules", "seeds"):
        assert assumed[place]


def test_one_pass_differs_from_the_paper_s_study_in_the_budget_alone(load):
    one, paper = load("paper_one_pass.yaml"), load("paper.yaml")
    for entry in paper.arms["sft-orca+dpo-hh"]:
        differing = {
            name
            for name, value in one.stage(entry, 0).model_dump().items()
            if paper.stage(entry, 0).model_dump()[name] != value
        }
        assert differing <= {"budget", "epochs"}
        assert one.stage(entry, 0).epochs == 1


def test_crossed_has_every_sft_set_with_every_comparison_set(load):
    stages = {tuple(entry.target for entry in entries) for entries in load("paper_crossed.yaml").arms.values()}
    assert stages == {(), *((s,) for s in ("shp-answers", "orca", "lima"))} | {
        (s, d) for s in ("shp-answers", "orca", "lima") for d in ("shp", "hh")
    }


@pytest.mark.parametrize("variant", ["paper_one_pass.yaml", "paper_crossed.yaml", "paper_small.yaml"])
def test_a_variant_gives_no_reason_for_what_it_set_otherwise(load, variant):
    study, paper = load(variant), load("paper.yaml")
    own = YamlFile.read(STUDIES / variant).values
    general = YamlFile.read(STUDIES / "paper.yaml").values
    for place, reason in study.assumptions.items():
        if paper.assumptions.get(place) == reason:
            assert value_at(own, place) == value_at(general, place), place
    assert study.origin == paper.path
