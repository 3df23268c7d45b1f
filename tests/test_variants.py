"""Controls and sweeps: arms that a study asks for without writing them out."""

import re
from pathlib import Path

import pytest

from datatrial.errors import StudyError
from datatrial.planner import plan
from datatrial.steps import ArmRun, Plan
from datatrial.study import Study

STUDY = """\
name: x
model: {kind: from_scratch, corpus: corpus}
seeds: [0, 1]
data:
  corpus: {source: {kind: micro_world, part: corpus, n: 100}}
  many: {source: {kind: micro_world, part: careless_demonstrations, n: 60}}
  few: {source: {kind: micro_world, part: careful_demonstrations, n: 20}, curation: [{kind: sample, n: 15}]}
  pairs: {source: {kind: micro_world, part: careful_comparisons, n: 20}, curation: [{kind: flip_labels, p: 0.1}]}
  exam: {source: {kind: micro_world, part: science}}
arms:
  base: []
  many: [{sft: many}]
  few: [{sft: few}]
  few+pairs: [{sft: few}, {dpo: pairs}]
benchmarks: [{kind: lm_eval, data: exam}]
contrasts:
  - {arm: few, against: many, expect: better}
"""


def planned(tmp_path: Path, more: str = "", without: str = "", changed: tuple[str, str] = ("", "")) -> Plan:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace(without, "").replace(*changed, 1) + more)
    return plan(path, tmp_path / "store")


def run(made: Plan, arm: str, seed: int = 0) -> ArmRun:
    return next(run for run in made.runs if (run.arm, run.seed) == (arm, seed))


def settings(made: Plan, arm: str, stage: int = -1, seed: int = 0) -> dict:
    return run(made, arm, seed).stages[stage][1].task.identity()


def data(made: Plan, arm: str, seed: int = 0) -> dict:
    return run(made, arm, seed).stages[-1][1].inputs["data"].task.identity()


def test_without_either_there_are_the_arms_as_written(tmp_path: Path) -> None:
    made = planned(tmp_path)
    assert list(made.study.arms) == ["base", "many", "few", "few+pairs"]
    assert made.variants == ()


def test_controls_are_added_for_the_arms_that_contrasts_name(tmp_path: Path) -> None:
    made = planned(tmp_path, "controls: true\n")
    assert [(v.name, v.against) for v in made.variants] == [
        ("few (again)", ("few",)),
        ("few (shuffled)", ("few",)),
        ("many (again)", ("many",)),
        ("many (shuffled)", ("many",)),
        ("many (as few as few)", ("few", "many")),
        ("few (as few as many)", ("many", "few")),
    ]


def test_an_arm_trained_again_differs_in_its_seeds_alone(tmp_path: Path) -> None:
    made = planned(tmp_path, "controls: true\n")
    once, again = settings(made, "few"), settings(made, "few (again)")
    assert {name for name in once if once[name] != again[name]} == {"seed"}
    assert data(made, "few") == data(made, "few (again)")
    seeds = {settings(made, arm, seed=seed)["seed"] for arm in ("few", "few (again)") for seed in (0, 1)}
    assert len(seeds) == 4


def test_shuffled_answers_and_as_few_rows_change_the_data_of_the_last_stage_alone(tmp_path: Path) -> None:
    made = planned(tmp_path, "controls: true\n")
    assert settings(made, "few (shuffled)") == settings(made, "few")
    assert [op["kind"] for op in data(made, "few (shuffled)")["curation"]] == ["sample", "shuffle_answers"]
    [subset] = data(made, "many (as few as few)")["curation"]
    assert (subset["kind"], subset["as_many_as"]) == ("sample", "few")
    made_from = run(made, "many (as few as few)").stages[-1][1].inputs["data"]
    assert [step.label for step in made_from.inputs.values()] == ["data few"]


def test_without_contrasts_every_trained_arm_has_controls(tmp_path: Path) -> None:
    made = planned(tmp_path, "controls: true\n", without=STUDY[STUDY.index("contrasts:") :])
    assert {v.of for v in made.variants} == {"many", "few", "few+pairs"}
    shared = run(made, "few+pairs (shuffled)").stages[0][1]
    assert shared.digest == run(made, "few").policy.digest  # only the last stage's data are shuffled


def test_a_sweep_makes_an_arm_of_each_value_and_compares_it_with_the_largest(tmp_path: Path) -> None:
    made = planned(
        tmp_path,
        "sweeps:\n  - {arm: few, n: [5, 15, 10]}\n  - {arm: many, n: [20, 40]}\n"
        "  - {arm: few+pairs, beta: [0.05, 0.4]}\n  - {arm: few+pairs, p: [0.0, 0.5]}\n",
    )
    assert [(v.name, v.against) for v in made.variants if v.of == "few"] == [
        ("few (n=5)", ("few (n=15)",)),
        ("few (n=15)", ()),
        ("few (n=10)", ("few (n=15)",)),
    ]
    assert [op["n"] for op in data(made, "few (n=5)")["curation"]] == [5]
    assert [op["n"] for op in data(made, "many (n=20)")["curation"]] == [20]  # has no `sample`: put last
    assert settings(made, "few+pairs (beta=0.4)")["beta"] == 0.4
    assert [op["p"] for op in data(made, "few+pairs (p=0.5)")["curation"]] == [0.5]
    assert run(made, "few+pairs (beta=0.4)").stages[0][1].digest == run(made, "few").policy.digest
    # A value that is the arm's own is the arm's own result.
    assert run(made, "few (n=15)").policy.digest == run(made, "few").policy.digest


def test_an_arm_trained_again_draws_another_sample_where_seeds_do(tmp_path: Path) -> None:
    made = planned(tmp_path, "controls: true\nseeds_redraw: [sample]\n")
    once, again = data(made, "few"), data(made, "few (again)")
    assert once["curation"] != again["curation"]
    assert settings(made, "few") == settings(made, "few (again)")


def test_a_sweep_of_n_is_of_rows_whatever_other_steps_call_n(tmp_path: Path) -> None:
    changed = ("{kind: sample, n: 15}", "{kind: decontaminate, n: 8}")
    made = planned(tmp_path, "sweeps: [{arm: few, n: [20, 40]}]\n", changed=changed)
    kinds = [(op["kind"], op.get("n")) for op in data(made, "few (n=40)")["curation"]]
    assert kinds == [("decontaminate", 8), ("sample", 40)]


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("{arm: fwe, n: [1, 2]}", "there is no 'fwe'; did you mean 'few'?"),
        ("{arm: base, n: [1, 2]}", "line 19: sweeps[0].arm: 'base' ends with no training stage"),
        ("{arm: few, betta: [1, 2]}", "neither 'sft' nor the data set 'few' has such a number"),
        ("{arm: few, n: [1]}", "should give two values or more of n, each once"),
        ("{arm: few, n: [0, 5]}", "line 19: sweeps[0].n: should be greater than 0"),
        ("{arm: few, max_length: [1, 64]}", "sweeps[0].max_length: should be greater than 1"),
        ("{arm: few, n: [2.5, 5]}", "sweeps[0].n: should be a valid integer"),
        ("{arm: many, n: [2.5, 5]}", "sweeps[0].n: should be a valid integer"),
        ("{arm: few+pairs, beta: [-1, 0.2]}", "sweeps[0].beta: should be greater than 0 (got -1)"),
        ("{arm: theirs, n: [1, 2]}", "'theirs' ends with no training stage"),
        ("{arm: few}", "should name an arm and one setting"),
    ],
)
def test_a_sweep_that_cannot_be_is_an_error_that_names_it(tmp_path: Path, sweep: str, said: str) -> None:
    theirs = "  theirs: [{model: someone/model}]\nbenchmarks:"
    with pytest.raises(StudyError, match=re.escape(said)):
        planned(tmp_path, f"sweeps: [{sweep}]\n", changed=("benchmarks:", theirs))


def test_seeds_redraw_what_the_study_says(tmp_path: Path) -> None:
    def drawn(redraw: str) -> list[tuple[int, int, int]]:
        made = planned(tmp_path, f"seeds_redraw: [{redraw}]\n")
        found = []
        for seed in (0, 1):
            stage, sample = settings(made, "few", seed=seed), data(made, "few", seed)["curation"][0]
            found.append((sample["seed"], stage["seed"], stage.get("init_seed", stage["seed"])))
        return found

    assert drawn("order, init") == [(0, 0, 0), (0, 1, 1)]
    assert drawn("sample, order, init") == [(0, 0, 0), (1, 1, 1)]
    assert drawn("sample") == [(0, 0, 0), (1, 0, 0)]
    assert drawn("order") == [(0, 0, 0), (0, 1, 0)]
    assert drawn("init") == [(0, 0, 0), (0, 0, 1)]


def test_the_study_itself_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY + "controls: true\n")
    study = Study.load(tmp_path / "study.yaml")
    made = plan(study, tmp_path / "store")
    assert len(made.study.arms) > len(study.arms) == 4
    assert made.study.text == study.text
