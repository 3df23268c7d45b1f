"""`datatrial plan`: estimates of a whole study, from nothing but its file."""

import json
from pathlib import Path
from typing import Any

import pytest

from datatrial.estimates.detectable import CHANGED, CORRELATION, SAFETY, SEED_SPREAD, SHARE_SPREAD

PAPER = """\
name: paper-like
model: {kind: hub, path: meta-llama/Llama-2-7b-hf, dtype: bfloat16, quantization: nf4}
lora: {r: 8, alpha: 16, dropout: 0.05, target_modules: [q_proj, v_proj]}
seeds: [0, 1, 2]
training:
  sft: {budget: {steps: 500}, batch_size: 8, packing: true}
  dpo: {budget: {steps: 1000}, batch_size: 16, max_prompt_length: 512}
data:
  lima: {source: {kind: lima}}
  shp: {source: {kind: shp}}
  hh: {source: {kind: hh_rlhf, subsets: [harmless-base, helpful-base]}}
  orca: {source: {kind: open_orca}, curation: [{kind: sample, n: 100000}]}
  sentences: {source: {kind: safenlp}}
arms:
  base: []
  shp: [{sft: shp}]
  shp+shp: [{sft: shp}, {dpo: shp}]
  orca: [{sft: orca}]
  orca+hh: [{sft: orca}, {dpo: hh}]
  lima: [{sft: lima}]
benchmarks:
  [arc_challenge, piqa, hellaswag, {kind: lm_eval, task: mmlu, num_fewshot: 5}, toxigen, truthfulqa_mc2,
   {kind: group_safety, data: sentences, name: safety}]
"""

ARMS = ("base", "shp", "shp+shp", "orca", "orca+hh", "lima")


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    path = tmp_path / "paper.yaml"
    path.write_text(PAPER)
    return path


def offline(tmp_path: Path) -> dict[str, str]:
    return {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}


def test_the_papers_study_is_planned_in_full_offline(datatrial: Any, paper: Path, tmp_path: Path) -> None:
    told = json.loads(datatrial("plan", paper, "--device", "h200", "--json", **offline(tmp_path)).stdout)
    steps = {step["label"]: step["estimate"] for step in told["steps"]}
    assert steps["sft lima, seed 0"]["passes"] == pytest.approx(6.0, abs=0.1)
    assert steps["sft orca, seed 0"]["passes"] == pytest.approx(0.1, abs=0.005)
    assert steps["sft shp → dpo shp, seed 2"]["rows"] == 348_718
    assert all(estimate["seconds"] is not None for estimate in steps.values())
    assert all(estimate["fits"] for estimate in steps.values() if estimate["sort"] in ("training", "scoring"))
    assert told["totals"]["to_do"] == told["totals"]["all"]
    assert told["totals"]["all"]["unknown"] == 0
    assert {"endpoint", "items", "difference", "assumed", "measured"} == told["detectable"][0].keys()
    assert len(told["detectable"]) == 6 + 1 + 13
    assert all(0 < endpoint["difference"] < 0.06 for endpoint in told["detectable"])
    downloads = {download["repo"]: download["size"] for download in told["downloads"]}
    assert downloads["meta-llama/Llama-2-7b-hf@main"] == 2 * 6_738_415_616
    assert any("lima" in repo.lower() for repo in downloads)


def test_what_programs_read_stays(datatrial: Any, tiny: Path) -> None:
    told = json.loads(datatrial("plan", tiny, "--json").stdout)
    assert {"study", "store", "steps"} <= told.keys()
    assert {"label", "kind", "digest", "state", "arms", "inputs", "externals"} <= told["steps"][0].keys()


def test_people_read_rows_passes_hours_and_the_smallest_difference(datatrial: Any, paper: Path, tmp_path: Path) -> None:
    told = datatrial("plan", paper, "--device", "h200", **offline(tmp_path), COLUMNS="100").stdout
    assert "on NVIDIA H200" in told
    assert "sft lima: 1,030 rows, 6.0 passes" in told
    assert "mean of 13 groups" in told
    assert "time in all" in told
    assert "docs/plan.md" in told
    assert "to download: about 14GB" in told
    arms = told.partition("what each arm sees")[2]
    assert sorted(ARMS, key=lambda arm: arms.index(f"\n{arm} ")) == list(ARMS)
    assert max(map(len, told.splitlines())) <= 100


def test_an_override_shows_in_the_estimates(datatrial: Any, paper: Path) -> None:
    def tokens(*overrides: str) -> float:
        told = json.loads(datatrial("plan", paper, *overrides, "--device", "cpu", "--json").stdout)
        return next(float(s["estimate"]["tokens"]) for s in told["steps"] if s["label"] == "sft lima, seed 0")

    assert tokens("training.sft.budget.steps=250") == tokens() / 2


def test_what_does_not_fit_is_marked(datatrial: Any, paper: Path) -> None:
    overrides = ["model.path=meta-llama/Llama-2-70b-hf", "model.quantization=null"]
    assert "! does not fit into the 24GB" in datatrial("plan", paper, *overrides, "--device", "rtx-4090").stdout


def test_nothing_is_invented_about_an_unknown_model(datatrial: Any, paper: Path, tmp_path: Path) -> None:
    told = datatrial("plan", paper, "model.path=someone/storyteller", "--device", "h200", **offline(tmp_path)).stdout
    assert "size of someone/storyteller: unknown until it is downloaded" in told
    assert "steps whose time cannot be told" in told


def test_an_unknown_device_is_refused(datatrial: Any, tiny: Path) -> None:
    assert "no device 'h100000'" in datatrial("plan", tiny, "--device", "h100000", expect=2).stderr


def test_what_the_held_out_loss_costs_after_a_short_training_is_pointed_out(datatrial: Any, paper: Path) -> None:
    told = datatrial("plan", paper, "training.sft.budget.steps=20", "--device", "h200").stdout
    assert "go into the loss on 1,000 held-out examples" in told


def test_all_that_differences_rest_on_is_said(datatrial: Any, paper: Path, tmp_path: Path) -> None:
    told = datatrial("plan", paper, "--device", "h200", **offline(tmp_path), COLUMNS="1000").stdout
    said = next(line for line in told.splitlines() if line.startswith("differences:"))
    assert f"{CHANGED:.0%} of items change (shares by {100 * SHARE_SPREAD:g} points, sd)" in said
    assert f"seeds differ by {100 * SEED_SPREAD:g} points (sd)" in said
    assert f"safety is {SAFETY:g} and correlates by {CORRELATION:g} between arms" in said


def test_a_model_of_another_packages_kind_is_planned_without_its_size(datatrial: Any, tiny: Path) -> None:
    (tiny.parent / "grown.py").write_text(
        "from datatrial.models._base import Model\n"
        "class Grown(Model):\n    def run(self, inputs, out, runtime): raise NotImplementedError\n"
    )
    info = tiny.parent / "growing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: growing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[datatrial.kinds]\nmodels.grown = grown\n")
    study = tiny.parent / "grown.yaml"
    lines = tiny.read_text().splitlines()
    study.write_text("\n".join("model: {kind: grown}" if line.startswith("model:") else line for line in lines))
    told = json.loads(datatrial("plan", study, "--json", PYTHONPATH=str(tiny.parent)).stdout)
    assert told["notes"][0] == "size of a model of kind grown: unknown until it is made"
    steps = {step["label"]: step["estimate"] for step in told["steps"]}
    assert steps["model grown"]["sort"] == "model"
    assert steps["model grown"]["seconds"] is None
    assert steps["sft careful, seed 0"]["rows"] == 40
    assert steps["sft careful, seed 0"]["seconds"] is None
    assert "whose time cannot be told" in datatrial("plan", study, PYTHONPATH=str(tiny.parent)).stdout
