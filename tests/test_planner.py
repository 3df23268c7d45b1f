"""From studies to steps: what is shared, what counts, and what is left when something failed."""

import json
from pathlib import Path

import pytest

from datatrial.engine.store import Store
from datatrial.errors import StudyError
from datatrial.planner import plan
from datatrial.records import Launch, ModelRef, Resources, Runtime
from datatrial.steps import Plan
from datatrial.study import Study
from datatrial.trial import _fetch

STUDY = """\
name: x
model: {kind: hub, path: ./base}
seeds: [0, 1]
data:
  mine: {source: {kind: json_file, path: mine.jsonl}}
  exam: {source: {kind: json_file, path: exam.jsonl}}
arms:
  base: []
  mine: [{sft: mine}]
  twice: [{sft: mine}, {sft: mine, epochs: 2}]
  theirs: [{model: ./other}]
benchmarks: [{kind: lm_eval, data: exam}, {kind: lm_eval, data: exam, name: again, limit: 3}]
"""


def model_folder(path: Path, text: str) -> None:
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_text(text)


@pytest.fixture
def study(tmp_path) -> Path:
    model_folder(tmp_path / "base", "one")
    model_folder(tmp_path / "other", "two")
    (tmp_path / "mine.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}))
    (tmp_path / "exam.jsonl").write_text(json.dumps({"question": "a", "choices": ["b", "c"], "answer": 0}))
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def digests(made: Plan) -> dict[str, str]:
    return {step.label: step.digest for step in made.steps}


def test_arms_share_what_they_have_in_common(study):
    made = plan(study)
    runs = {(run.arm, run.seed): run for run in made.runs}
    assert runs.keys() == {("base", None), ("theirs", None)} | {(a, s) for a in ("mine", "twice") for s in (0, 1)}
    assert runs["mine", 1].policy.digest == runs["twice", 1].stages[0][1].digest
    assert runs["mine", 0].policy.digest != runs["mine", 1].policy.digest


def test_renaming_changes_no_digest_of_the_work(study):
    before = set(digests(plan(study)).values())
    text = study.read_text().replace("mine:", "ours:").replace("sft: mine", "sft: ours").replace("exam", "quiz")
    study.write_text(text.replace("path: quiz.jsonl", "path: exam.jsonl").replace("name: x", "name: y"))
    assert set(digests(plan(study)).values()) == before


def test_the_content_of_files_counts_not_their_place(study, tmp_path):
    before = digests(plan(study))
    (tmp_path / "mine.jsonl").rename(tmp_path / "moved.jsonl")
    study.write_text(study.read_text().replace("path: mine.jsonl", "path: moved.jsonl"))
    assert digests(plan(study)) == before
    (tmp_path / "moved.jsonl").write_text(json.dumps({"prompt": "a", "completion": "other"}))
    changed = {label for label, digest in digests(plan(study)).items() if digest != before[label]}
    assert changed == {label for label in before if "mine" in label}


def test_an_arm_that_is_a_whole_checkpoint_does_not_depend_on_the_base_model(study, tmp_path):
    before = digests(plan(study))
    (tmp_path / "base" / "model.safetensors").write_text("another")
    after = digests(plan(study))
    assert after["exam of model ./other"] == before["exam of model ./other"]
    assert after["exam of base model"] != before["exam of base model"]


def test_a_model_is_found_where_it_is_now(study, tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    first = plan(study, store.root).model
    store.build(store.work(first), Runtime())
    (tmp_path / "base").rename(tmp_path / "moved")
    model_folder(tmp_path / "base", "something else")
    made = plan(study, store.root, ["model.path=./moved"])
    assert made.model.digest == first.digest
    _fetch(made, store)
    store.build(store.work(made.model), Runtime())
    assert ModelRef.read(store.path(made.model)).weights == str(tmp_path / "moved")


def test_a_benchmark_that_failed_leaves_the_others_in_the_report(study):
    made = plan(study)
    failed = {run.scores["exam"].digest: "no such column" for run in made.runs}
    summary = made.summary(failed)
    assert summary is not None
    report = summary.task
    assert {run.benchmark for run in report.runs} == {"again"}
    assert {(m.arm, m.benchmark, m.reason) for m in report.missing} == {
        (arm, "exam", "no such column") for arm in ("base", "mine", "twice", "theirs")
    }


def test_a_stage_that_failed_takes_out_the_arms_above_it(study):
    made = plan(study)
    [failed] = [run.policy for run in made.runs if (run.arm, run.seed) == ("mine", 0)]
    summary = made.summary({failed.digest: "the loss is no number"})
    assert summary is not None
    assert {(m.arm, m.seed, m.benchmark) for m in summary.task.missing} == {("mine", 0, ""), ("twice", 0, "")}
    assert {(run.arm, run.seed) for run in summary.task.runs} >= {("mine", 1), ("twice", 1), ("base", None)}


def test_without_the_baseline_there_is_no_report(study):
    made = plan(study)
    assert made.summary({made.model.digest: "gone"}) is None


def test_of_one_repository_every_part_that_is_needed_is_fetched_once(study, tmp_path, monkeypatch):
    from datatrial.externals import HubExternal

    fetched = []
    monkeypatch.setattr(HubExternal, "fetch", lambda self: fetched.append(self.needs.patterns))
    monkeypatch.setattr(HubExternal, "locate", lambda self: tmp_path)
    text = study.read_text().replace("benchmarks: [", "benchmarks: [mmlu_astronomy, mmlu_virology, ")
    study.write_text(text)
    lock = {"dataset cais/mmlu@main": "1" * 40}
    study.with_suffix(".lock").write_text(json.dumps(lock))
    _fetch(plan(Study.load(study)), Store(tmp_path / "store"))
    assert len(fetched) == len(set(fetched)) == 2


def test_a_hub_root_that_is_not_there_is_named(study, monkeypatch):
    monkeypatch.setenv("DATATRIAL_HUB_ROOT", "/no/such/place")
    with pytest.raises(StudyError, match="there is no directory /no/such/place"):
        plan(study)


def test_overrides_of_a_study_that_is_loaded_are_not_ignored(study):
    with pytest.raises(ValueError, match=r"give the overrides to Study\.load"):
        plan(Study.load(study), overrides=["seeds=[5]"])


REWARDED = """\
reward_models:
  judge: [{sft: mine}, {reward: pairs}]
"""


@pytest.fixture
def rewarded(study, tmp_path) -> Path:
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}))
    pairs = "  pairs: {source: {kind: json_file, path: pairs.jsonl, form: comparisons}}\n"
    study.write_text(study.read_text().replace("arms:\n", pairs + REWARDED + "arms:\n"))
    return study


def test_a_reward_model_shares_its_stages_with_the_arms_of_the_first_seed(rewarded):
    made = plan(rewarded)
    runs = {(run.arm, run.seed): run for run in made.runs}
    judge = made.reward_models["judge"]
    assert [entry.kind for entry, _ in judge.stages] == ["sft", "reward"]
    assert judge.stages[0][1].digest == runs["mine", 0].policy.digest
    assert judge.step.digest in {step.digest for step in made.goals}


def test_what_is_trained_on_is_audited_and_nothing_else(rewarded):
    made = plan(rewarded)
    assert set(made.audits) == {"mine", "pairs"}
    assert made.arms_of[made.audits["mine"].digest] == []
    assert not plan(rewarded, overrides=["audits=[]"]).audits


def test_curation_reads_other_parts_of_the_study_and_changes_with_them(rewarded, tmp_path):
    ranked = "curation: [{kind: rank, reward_model: judge, n: 1}]"
    more = f"  best: {{source: {{kind: json_file, path: mine.jsonl}}, {ranked}}}\n"
    rewarded.write_text(rewarded.read_text().replace("reward_models:", more + "reward_models:"))
    use = ["arms.best=[{sft: best}]"]
    first = plan(rewarded, overrides=use)
    assert first.data["best"].inputs["0:reward_model"].digest == first.reward_models["judge"].step.digest
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "c", "rejected": "b"}))
    assert plan(rewarded, overrides=use).data["best"].digest != first.data["best"].digest


def test_curation_against_the_benchmarks_reads_the_texts_of_each(rewarded):
    made = plan(rewarded, overrides=["data.mine.curation=[{kind: decontaminate}]"])
    texts = [step for name, step in made.data["mine"].inputs.items() if name.startswith("0:benchmark/")]
    assert [step.task.kind for step in texts] == ["benchmark_texts"] * 2
    assert texts[0].digest == texts[1].digest  # the second only limits how many items are asked


def test_what_depends_on_itself_is_named(rewarded):
    circle = ["data.pairs.curation=[{kind: rank, reward_model: judge, n: 1}]"]
    with pytest.raises(StudyError, match="depends on itself: reward model judge → data pairs → reward model judge"):
        plan(rewarded, overrides=circle)


def test_what_counts_tokens_needs_the_tokenizer_of_a_hub_model_and_not_its_weights(study):
    made = plan(study, overrides=["model={kind: hub, path: org/name}"])
    [tokenizer] = [step for name, step in made.audits["mine"].inputs.items() if name.endswith(":tokenizer")]
    assert tokenizer.digest != made.model.digest
    assert not any("safetensors" in pattern for pattern in tokenizer.externals["weights"].needs.patterns)
    local = plan(study)
    assert local.model.digest in {step.digest for step in local.audits["mine"].inputs.values()}


def test_the_report_reads_no_base_model_that_nothing_else_reads(study):
    made = plan(study, overrides=["arms={theirs: [{model: ./other}]}", "audits=[]"])
    report = made.summary({})
    assert made.model.digest not in {step.digest for step in made.steps}
    assert report is not None
    assert "model" not in report.inputs
    assert report.task.model == ""


def test_the_report_shows_the_training_of_reward_models(rewarded):
    report = plan(rewarded).summary({})
    assert report is not None
    stages = {(stage.arm, stage.stage): stage.input for stage in report.task.stages}
    judge = plan(rewarded).reward_models["judge"]
    assert report.inputs[stages["reward model judge", "reward"]].digest == judge.step.digest


def test_a_data_set_that_nothing_reads_is_not_looked_for(study):
    spare = "data:\n  spare: {source: {kind: lima}}\n"
    study.write_text(study.read_text().replace("data:\n", spare, 1))
    made = plan(study)
    assert "spare" not in made.data
    assert not any(step.externals for step in made.steps if "spare" in step.label)
    assert "dataset GAIR/lima" not in {str(e) for step in made.steps for e in step.externals.values()}


def test_a_circle_through_the_benchmarks_names_them(study):
    use = ["data.exam.curation=[{kind: decontaminate}]", "data.mine.curation=[{kind: decontaminate}]"]
    with pytest.raises(
        StudyError, match=r"texts of exam → data exam → texts of exam|data exam → texts of exam → data exam"
    ):
        plan(study, overrides=use)


def test_resources_change_no_digest_not_even_the_report_s(study):
    resources = """\
resources:
  training: {gpus: 1, cpus: 4, memory: 24GB, custom: {a100: 1}}
  scoring: {gpus: 0.5}
  other: {memory: 2GiB}
"""
    before = plan(study)
    study.write_text(study.read_text() + resources)
    after = plan(study)
    assert digests(after) == digests(before)
    summaries = (before.summary({}), after.summary({}))
    assert summaries[0] and summaries[1]
    assert summaries[0].digest == summaries[1].digest
    assert summaries[1].resources == Resources(memory=2 * 2**30)


def test_each_step_has_the_resources_of_its_kind_of_work(study):
    made = plan(study, overrides=["resources.training.memory=24GB", "resources.scoring.custom={a100: 2}"])
    run = next(run for run in made.runs if run.arm == "mine")
    assert run.policy.resources == Resources(gpus=None, memory=24 * 10**9)
    assert run.scores["exam"].resources == Resources(gpus=None, custom={"a100": 2})
    assert run.drift
    assert run.drift.resources == run.scores["exam"].resources
    assert made.data["mine"].resources == made.model.resources == Resources(gpus=0)
    trained = plan(study, overrides=["model={kind: from_scratch, corpus: [mine]}", "arms.theirs=[]"])
    assert trained.model.resources.gpus is None


def test_a_policy_is_rewarded_by_a_reward_model_of_the_study(rewarded):
    arm = "  grown: [{sft: mine}, {grpo: mine, reward_model: judge}]\n"
    rewarded.write_text(rewarded.read_text().replace("arms:\n", f"arms:\n{arm}", 1))
    made = plan(rewarded)
    [run, *_] = [run for run in made.runs if run.arm == "grown"]
    assert run.policy.inputs["reward_model"].digest == made.reward_models["judge"].step.digest


def test_candidates_are_trained_with_the_first_seed_and_shared(study):
    made = plan(study, overrides=["training.sft.tune={learning_rate: [1e-4, 1e-3]}"])
    runs = {(run.arm, run.seed): run for run in made.runs}
    tuned = [runs["mine", seed].policy for seed in (0, 1)]
    candidates = [[step.inputs[f"candidate-{n}"] for n in (0, 1)] for step in tuned]
    assert [step.digest for step in candidates[0]] == [step.digest for step in candidates[1]]
    assert [step.task.stage.learning_rate for step in candidates[0]] == [1e-4, 1e-3]
    assert [step.task.stage.seed for step in candidates[1]] == [0, 0]
    assert [(step.task.first_seed, step.task.stage.seed) for step in tuned] == [(True, 0), (False, 1)]
    second = runs["twice", 1].stages[1][1]
    assert second.inputs["policy"].digest == tuned[1].digest
    assert second.inputs["candidate-0"].inputs["policy"].digest == tuned[0].digest


def test_what_is_picked_from_replaces_what_was_declared_there(study):
    study.write_text(study.read_text().replace("{sft: mine, epochs: 2}", "{sft: mine}"))
    by_default = plan(study, overrides=["training.sft.tune={epochs: [1, 2]}"])
    declared = plan(study, overrides=["training.sft={epochs: 7, tune: {epochs: [1, 2]}}"])
    assert digests(by_default) == digests(declared) != digests(plan(study))


def test_how_many_processes_train_changes_no_digest_and_concerns_training_alone(study):
    before, after = plan(study), plan(study, overrides=["launch.num_processes=2"])
    assert digests(after) == digests(before)
    assert before.summary({}).digest == after.summary({}).digest
    launched = {step.label for step in after.steps if step.resources.launch}
    assert launched == {step.label for step in after.steps if step.label.startswith("sft mine")}


def test_an_arm_trained_again_has_what_was_picked_for_the_arm_and_trains_with_its_own_seeds(study):
    tuned = ["training.sft.tune={learning_rate: [1e-4, 1e-3]}", "seeds=[0]", "controls=true"]
    made = plan(study, overrides=tuned)
    policies = {run.arm: run.policy for run in made.runs}
    for arm in ("mine", "twice"):
        once, again = policies[arm], policies[f"{arm} (again)"]
        names = ("candidate-0", "candidate-1")
        assert [once.inputs[name].digest for name in names] == [again.inputs[name].digest for name in names]
        assert (once.task.first_seed, again.task.first_seed) == (True, False)
        assert once.task.stage.seed != again.task.stage.seed
    assert policies["twice (again)"].inputs["policy"].digest == policies["mine (again)"].digest


def test_a_copy_of_a_candidate_takes_no_gpu(study):
    use = ["training.sft.tune={learning_rate: [1e-4, 1e-3]}", "launch.num_processes=2", "resources.training.gpus=1"]
    runs = {run.seed: run.policy for run in plan(study, overrides=use).runs if run.arm == "mine"}
    assert runs[0].resources == Resources(gpus=0)
    trains = Resources(gpus=1, launch=Launch(2))
    assert runs[1].resources == runs[0].inputs["candidate-0"].resources == trains


def test_a_stage_whose_batches_are_not_shared_asks_for_one_process(rewarded):
    arm = "  grown: [{sft: mine}, {grpo: mine, reward_model: judge}]\n"
    rewarded.write_text(rewarded.read_text().replace("arms:\n", f"arms:\n{arm}", 1))
    made = plan(rewarded, overrides=["launch.num_processes=2"])
    launched = {entry.kind: step.resources.launch for run in made.runs for entry, step in run.stages}
    assert launched == {"sft": Launch(2), "grpo": None}
