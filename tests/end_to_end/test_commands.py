"""The commands that answer at once: they plan and check, and train nothing."""

import json
import subprocess
import sys

import pytest


def test_init_writes_a_study_that_checks_and_plans(datatrial, tmp_path):
    datatrial("init", "trial")
    assert (tmp_path / "trial.yaml").read_text().startswith("# A datatrial study.")
    assert "name: trial\n" in (tmp_path / "trial.yaml").read_text()
    assert "trial.yaml is fine: 4 arms" in datatrial("check", "trial.yaml").stdout
    assert "lima" in datatrial("plan", "trial.yaml").stdout
    assert "exists already" in datatrial("init", "trial", expect=2).stderr
    assert "there is no folder nowhere" in datatrial("init", "nowhere/trial", expect=2).stderr
    assert "is no name for a study" in datatrial("init", "a b", expect=2).stderr
    (tmp_path / "link.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert "exists already" in datatrial("init", "link", expect=2).stderr
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_plan_shows_what_arms_share(datatrial, tiny):
    plan = json.loads(datatrial("plan", tiny, "--json").stdout)
    steps = {step["label"]: step for step in plan["steps"]}
    assert steps["sft careful, seed 0"]["arms"] == ["careful", "careful+pairs"]
    assert steps["model from_scratch"]["arms"] == ["base", "careful", "careful+pairs"]
    assert steps["science of base model"]["arms"] == ["base"]
    assert {step["state"] for step in plan["steps"]} == {"new"}
    assert len(steps) == len(plan["steps"])
    # 5 data sets, 1 model, 2 seeds × (sft, dpo), 2 benchmarks × (base + 2 arms × 2 seeds); 2 data sets are trained on
    # and audited, also against the texts of the 2 benchmarks; of 2 arms × 2 seeds it is measured how far they moved;
    # DPO's references are the 2 SFT policies
    assert len(steps) == 5 + 1 + 4 + 10 + 2 + 2 + 4 + 2


def test_overrides_reach_the_plan(datatrial, tiny):
    def digests(*overrides):
        plan = json.loads(datatrial("plan", tiny, *overrides, "--json").stdout)
        return {step["label"]: step["digest"] for step in plan["steps"]}

    before, after = digests(), digests("training.dpo.beta=0.5")
    changed = {label for label in before if before[label] != after[label]}
    assert changed == {label for label in before if "dpo" in label}  # not the reference's log-probabilities
    assert "reference of sft careful, seed 0 on pairs" in before
    assert "seed 2" in " ".join(digests("seeds=[2]"))


def test_bad_studies_end_with_exit_code_2_and_every_problem(datatrial, tiny):
    tiny.write_text(tiny.read_text().replace("{sft: careful}]", "{sft: carefull}]").replace("n: 300", "n: few"))
    for command in ("check", "plan", "run", "status", "report"):
        told = datatrial(command, tiny, expect=2).stderr
        assert "2 problems in the study" in told
        assert "arms.careful[0].sft: no data set 'carefull'" in told
        assert "did you mean 'careful'?" in told
        assert "data.corpus.source.n" in told


@pytest.mark.parametrize("text", ["name: [", "- 1", "name: x\nname: y\n"])
def test_malformed_yaml_ends_with_exit_code_2(datatrial, tiny, text):
    tiny.write_text(text)
    assert "1 problem in the study" in datatrial("check", tiny, expect=2).stderr


def test_a_missing_study_is_named(datatrial):
    assert "there is no file nowhere.yaml" in datatrial("run", "nowhere.yaml", expect=2).stderr


def test_an_unwritable_store_ends_with_exit_code_2(datatrial, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    told = datatrial("run", tiny, "--store", tmp_path / "file" / "store", expect=2).stderr
    assert "cannot write to the store" in told


def test_explain_names_the_step_that_was_meant(datatrial, tiny):
    assert "is new: the store has no result" in datatrial("explain", tiny, "data careful").stdout
    assert "no step is called" in datatrial("explain", tiny, "data carefull", expect=2).stderr
    assert "steps begin with 'sft'" in datatrial("explain", tiny, "sft", expect=2).stderr


def test_a_device_that_is_not_there_is_refused(datatrial, tiny):
    assert "there is no GPU" in datatrial("run", tiny, "--device", "cuda", expect=2, CUDA_VISIBLE_DEVICES="").stderr
    assert "should be one of auto, cpu" in datatrial("run", tiny, "--device", "tpu", expect=2).stderr


def test_report_before_any_run_says_what_to_do(datatrial, tiny):
    assert "datatrial run" in datatrial("report", tiny, expect=2).stderr


@pytest.mark.parametrize("command", [["--help"], ["check"], ["plan"], ["status"]])
def test_commands_that_plan_import_nothing_heavy(tiny, command):
    script = (
        "import sys\nfrom datatrial.cli import app\n"
        "try: app(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'lm_eval', 'scipy', 'polars', 'numpy', 'ray'}\n"
        "print('imported:', sorted(heavy & sys.modules.keys()))\n"
    )
    args = command if command == ["--help"] else [*command, str(tiny)]
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, cwd=tiny.parent)
    assert "imported: []" in done.stdout, done.stdout + done.stderr
