"""What `datatrial check` says of bad studies: everything at once, each with place, value and suggestion."""

import json
import pickle

import pytest

from datatrial.errors import StudyError
from datatrial.study import Study

GOOD = """\
name: small
model: {kind: from_scratch, corpus: [lima]}
seeds: [0, 1]
training:
  sft: {learning_rate: 1e-3, epochs: 1}
  dpo: {learning_rate: 1e-3, beta: 0.2}
data:
  lima: {source: {kind: lima}}
  hh: {source: {kind: hh_rlhf, subsets: [harmless-base]}, curation: [{kind: sample, n: 5}]}
  mine: {source: {kind: json_file, path: mine.jsonl}}
  tox: {source: {kind: safenlp}}
arms:
  base: []
  lima: [{sft: lima}]
  both: [{sft: lima}, {dpo: hh, beta: 0.1}]
benchmarks: [arc_challenge, {kind: group_safety, data: tox}]
contrasts:
  - {arm: both, against: lima, on: [group_safety], expect: better}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, rows='{"prompt": "a", "completion": "b"}\n'):
        if rows is not None:
            (tmp_path / "mine.jsonl").write_text(rows)
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return path

    return write


def problems(path):
    with pytest.raises(StudyError) as caught:
        Study.load(path)
    return [str(problem) for problem in caught.value.problems]


def test_a_good_study_loads(write):
    study = Study.load(write(GOOD))
    assert list(study.arms) == ["base", "lima", "both"]
    assert study.baseline_arm == "base"
    assert study.stage(study.arms["both"][1], seed=1).model_dump()["beta"] == 0.1
    assert study.stage(study.arms["both"][1], seed=1).seed == 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "epochs: 1}",
            "tune: {learning_rate: [1e-3]}}",
            "training.sft.tune: should give two values or more of learning_rate",
        ),
        ("epochs: 1}", "tune: {beta: [0.1, 0.2]}}", "training.sft.tune"),
        ("epochs: 1}", "held_out: 0, tune: {epochs: [1, 2]}}", "training.sft: nothing can be picked: held_out is 0"),
        ("beta: 0.1}", "tune: {epochs: [1, 2]}}", "arms.both[1].tune: every arm gets the same effort"),
    ],
)
def test_what_cannot_be_picked_by_held_out_loss_is_refused(write, old, new, expected):
    found = problems(write(GOOD.replace(old, new, 1)))
    assert any(expected in problem for problem in found), found


TUNED = GOOD.replace("epochs: 1}", "tune: {learning_rate: [1e-4, 1e-3], epochs: [1, 2]}}")
IGNORED = "it is picked for every arm, so this would be ignored: leave it out here, or in training.sft.tune"


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("lima: [{sft: lima}]", "lima: [{sft: lima, learning_rate: 5e-5}]", "line 14: arms.lima[0].learning_rate"),
        (
            "arms:\n",
            "reward_models: {judge: [{sft: lima, epochs: 3}, {reward: hh}]}\narms:\n",
            "line 12: reward_models.judge[0].epochs",
        ),
        (
            "contrasts:",
            "sweeps: [{arm: lima, learning_rate: [1e-5, 1e-3]}]\ncontrasts:",
            "line 17: sweeps[0].learning_rate",
        ),
    ],
)
def test_a_value_of_its_own_for_what_is_picked_is_refused(write, old, new, place):
    assert problems(write(TUNED.replace(old, new))) == [f"{place}: {IGNORED}"]


def test_what_is_not_picked_may_be_an_entry_s_own_or_swept(write):
    text = TUNED.replace("lima: [{sft: lima}]", "lima: [{sft: lima, batch_size: 4}]")
    text += "sweeps: [{arm: lima, batch_size: [2, 4]}, {arm: both, learning_rate: [1e-5, 1e-4]}]\n"
    assert Study.load(write(text)).sweeps


IN_4_BITS = GOOD.replace("{kind: from_scratch, corpus: [lima]}", "{kind: hub, path: org/name, quantization: nf4}")
WHOLE = """\
  a: [{model: org/other, quantization: null}]
  b: [{arm: a}, {sft: lima, lora: false}]
  c: [{arm: b}, {dpo: hh, lora: false}]
  d: [{model: org/other, quantization: null}, {sft: lima, lora: false}]
reward_models:
  judge: [{model: org/other, quantization: null}, {sft: lima, lora: false}, {reward: hh}]
"""


def test_every_weight_can_be_trained_of_a_model_in_16_bits_that_an_arm_or_reward_model_starts_from(write):
    study = Study.load(write(IN_4_BITS.replace("benchmarks:", f"{WHOLE}benchmarks:")))
    assert len(study.arms["c"]) == 3
    in_16_bits = IN_4_BITS.replace("quantization: nf4", "dtype: bfloat16")
    assert Study.load(write(in_16_bits.replace("benchmarks:", f"{WHOLE}benchmarks:")))


def test_every_weight_of_a_model_in_4_bits_is_refused_wherever_it_comes_from(write):
    whole = WHOLE.replace(", quantization: null", "")  # loaded as the study's model is
    found = problems(write(IN_4_BITS.replace("benchmarks:", f"{whole}benchmarks:")))
    refused = "a model in nf4 cannot have every weight trained; give it a LoRA"
    places = ["arms.b[1]", "arms.c[1]", "arms.d[1]", "reward_models.judge[1]"]
    assert [line.partition(": ")[2] for line in found] == [f"{place}: {refused}" for place in places]


@pytest.mark.parametrize(("gpus", "refused"), [("0.5", True), ("1", False), ("0", False), ("null", False)])
def test_processes_share_no_gpu(write, gpus, refused):
    text = f"{GOOD}resources: {{training: {{gpus: {gpus}}}, scoring: {{gpus: 0.5}}}}\nlaunch: {{num_processes: "
    assert Study.load(write(f"{text}1}}"))
    if not refused:
        assert Study.load(write(f"{text}2}}"))
        return
    [problem] = problems(write(f"{text}2}}"))
    place = "line 19: resources.training.gpus"
    assert problem == f"{place}: each of 2 processes (`launch`) needs a GPU of its own; set 1, or 0 for none"


def test_an_arm_goes_on_from_an_earlier_one(write):
    arms = "  more: [{arm: both}, {sft: mine}]\n  evenmore: [{arm: more}, {dpo: hh}]\n"
    study = Study.load(write(GOOD.replace("benchmarks:", f"{arms}benchmarks:")))
    assert study.arms["more"] == (*study.arms["both"], study.arms["more"][-1])
    assert [entry.target for entry in study.arms["evenmore"]] == ["lima", "hh", "mine", "hh"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("more: [{arm: bth}]", "arms.more[0].arm: no earlier arm 'bth'; did you mean 'both'?"),
        ("more: [{arm: more}]", "arms.more[0].arm: no earlier arm 'more'"),
        ("more: [{sft: mine}, {arm: both}]", "arms.more[1].arm: an arm can go on from another only in its first entry"),
        ("more: [{arm: both, beta: 1}]", "arms.more[0].arm: an arm goes on from another as that is; 'beta' cannot"),
    ],
)
def test_an_arm_that_goes_on_from_what_is_not_there_is_refused(write, entry, expected):
    [problem] = problems(write(GOOD.replace("benchmarks:", f"  {entry}\nbenchmarks:")))
    assert expected in problem
    assert "line 16" in problem


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: small", "nmae: small", ["line 1: nmae: unknown key; did you mean 'name'?", "name: is missing"]),
        ("seeds: [0, 1]", "seeds: []", ["line 3: seeds: should have at least 1 item"]),
        ("seeds: [0, 1]", "seeds: [1, 1]", ["line 3: seeds: should name each once"]),
        ("seeds: [0, 1]", "seeds: [-1]", ["line 3: seeds[0]: should be greater than or equal to 0 (got -1)"]),
        ("seeds: [0, 1]", "seeds: [true]", ["line 3: seeds[0]: should be a valid integer"]),
        ("against: lima,", "against: both,", ["contrasts[0].against: an arm cannot be compared with itself"]),
        ("seeds: [0, 1]", "seeds: 1", ["line 3: seeds: should be a list (got 1)"]),
        ("epochs: 1}", "epochs: -1}", ["line 5: training.sft.epochs: should be greater than 0 (got -1)"]),
        ("epochs: 1}", "epcohs: 1}", ["line 5: training.sft.epcohs: unknown key; did you mean 'epochs'?"]),
        ("  dpo: {lea", "  dop: {lea", ["line 6: training.dop: no such kind of stage; did you mean 'dpo'?"]),
        ("kind: lima}}", "kind: lmia}}", ["line 8: data.lima.source.kind: unknown kind; did you mean 'lima'?"]),
        ("[harmless-base]", "[harmles-base]", ["line 9: data.hh.source.subsets[0]:", "'harmless-base'"]),
        ("n: 5", "n: many", ["line 9: data.hh.curation[0].n:", "integer", "'many'"]),
        ("path: mine", "path: yours", ["line 10: data.mine.source: there is no ", "yours.jsonl"]),
        (
            "{sft: lima}]\n",
            "{sft: lmia}]\n",
            ["arms.lima[0].sft: no data set 'lmia' under `data`; did you mean 'lima'?"],
        ),
        ("{sft: lima}]\n", "{stf: lima}]\n", ["arms.lima[0]: should name one stage", "did you mean 'sft'?"]),
        ("beta: 0.1}", "bta: 0.1}", ["line 15: arms.both[1].bta: unknown key; did you mean 'beta'?"]),
        ("{dpo: hh,", "{dpo: lima,", ["arms.both[1].dpo: needs comparisons, but 'lima' holds demonstrations"]),
        ("arc_challenge", "arc_chalenge", ["line 16: benchmarks[0]: ", "arc_chalenge", "arc_challenge"]),
        ("data: tox}", "data: toxi}", ["benchmarks[1].data: no data set 'toxi'", "did you mean 'tox'?"]),
        ("data: tox}", "data: hh}", ["benchmarks[1].data: needs statements, but 'hh' holds comparisons"]),
        ("against: lima", "against: lma", ["contrasts[0].against: there is no 'lma'; did you mean 'lima'?"]),
        ("on: [group_safety]", "on: [safety]", ["contrasts[0].on: there is no 'safety'"]),
        ("on: [group_safety]", "on: [group_safety/]", ["contrasts[0].on: there is no 'group_safety/'"]),
        ("on: [group_safety]", "on: [arc_challenge/x]", ["contrasts[0].on: there is no 'arc_challenge/x'"]),
        ("contrasts:", "primary: [arc_challenge, arc_challenge]\ncontrasts:", ["primary: should name each once"]),
        (
            "contrasts:",
            "capability: [group_safety]\ncontrasts:",
            ["capability: 'group_safety' scores groups, not items"],
        ),
        ("contrasts:", "sweeps: [{arm: [both], n: [1, 2]}]\ncontrasts:", ["sweeps[0].arm: should be a valid string"]),
        ("contrasts:", "sweeps: [both]\ncontrasts:", ["sweeps[0]: should be a mapping (got 'both')"]),
        ("contrasts:", "capability: [[arc_challenge]]\ncontrasts:", ["capability[0]: should be a valid string"]),
        ("expect: better", "expect: beter", ["contrasts[0].expect: ", "'beter'"]),
        ("corpus: [lima]", "corpus: [lama]", ["model.corpus: no data set 'lama'"]),
        ("contrasts:", "baseline: bsae\ncontrasts:", ["baseline: there is no 'bsae'; did you mean 'base'?"]),
        ("arms:\n", "arms:\n  a b: []\n", ["arms.a b"]),
        ("arms:\n", "arms:\n  x: [{model: org/name, revison: v1}]\n", ["arms.x[0].revison: unknown key", "'revision'"]),
        ("contrasts:", "baseline: base/x\ncontrasts:", ["baseline: there is no 'base/x'"]),
        ("beta: 0.1}", "seed: 3}", ["arms.both[1].seed: seeds are the study's"]),
        ("epochs: 1}", "seed: 3}", ["training.sft.seed: seeds are the study's"]),
        (
            "contrasts:",
            "resources: {scorin: {}}\ncontrasts:",
            ["resources.scorin: unknown key;", "'scoring'"],
        ),
        (
            "contrasts:",
            "launch: {num_processes: 2, fsdp: {reshard_after: true}}\ncontrasts:",
            ["launch.fsdp.reshard_after: unknown key; did you mean 'reshard_after_forward'?"],
        ),
        ("contrasts:", "launch: {fsdp: {}}\ncontrasts:", ["launch: one process has nobody to share a model with"]),
        (
            "contrasts:",
            "launch: {num_processes: 2, deepspeed: zero.json}\ncontrasts:",
            ["launch.deepspeed: ", "zero.json is no JSON file"],
        ),
        ("contrasts:", "resources: {other: {gpus: 2}}\ncontrasts:", ["resources.other.gpus: should be less than or"]),
        (
            "contrasts:",
            "resources: {training: {memory: lots, custom: {GPU: 1, a100: 1.5}}}\ncontrasts:",
            [
                "line 17: resources.training.memory: should be an amount of memory such as 24GB (got 'lots')",
                "resources.training.custom.GPU: has a key of its own: write gpus",
                "resources.training.custom.a100: should be a whole number, or less than 1 to share one (got 1.5)",
            ],
        ),
    ],
)
def test_each_mistake_is_named_with_its_place_and_a_suggestion(write, old, new, expected):
    assert old in GOOD
    found = problems(write(GOOD.replace(old, new)))
    for text in expected:
        assert any(text in line for line in found), found


def test_every_problem_is_reported_at_once_in_the_order_of_the_file(write):
    text = GOOD.replace("seeds: [0, 1]", "seeds: [x]").replace("kind: lima}}", "kind: lmia}}")
    text = (
        text.replace("n: 5", "n: 0").replace("{sft: lima}]\n", "{sft: lmia}]\n").replace("against: lima", "against: x")
    )
    found = problems(write(text, rows=None))
    places = ["seeds[0]", "data.lima.source.kind", "data.hh.curation[0].n", "data.mine.source", "arms.lima[0].sft"]
    places.append("contrasts[0].against")
    assert [line.split(": ")[1] for line in found] == places


def test_a_problem_is_reported_once(write):
    found = problems(write(GOOD.replace("epochs: 1}", "epochs: -1}")))
    assert len(found) == 1, found


def test_a_device_in_the_place_of_a_data_file_is_named(write, tmp_path):
    path = write(GOOD)
    (tmp_path / "mine.jsonl").unlink()
    (tmp_path / "mine.jsonl").symlink_to("/dev/zero")
    assert any("mine.jsonl is neither a file nor a folder" in line for line in problems(path))


def test_an_empty_data_file_is_named(write):
    assert any("mine.jsonl is empty" in line for line in problems(write(GOOD, rows="")))


def test_two_benchmarks_need_two_names(write):
    found = problems(write(GOOD.replace("[arc_challenge,", "[arc_challenge, arc_challenge,")))
    assert any("a second benchmark is called 'arc_challenge'; give it a `name`" in line for line in found)


def test_a_model_folder_without_weights_is_named(write, tmp_path):
    (tmp_path / "empty-model").mkdir()
    (tmp_path / "empty-model" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    text = GOOD.replace("{kind: from_scratch, corpus: [lima]}", "{kind: hub, path: ./empty-model}")
    found = problems(write(text))
    assert any("line 2: model: " in line and "weights" in line for line in found), found
    [missing] = problems(write(text.replace("./empty-model", "./nowhere")))
    assert "no folder" in missing


def test_unknown_trl_settings_and_those_that_the_study_has_itself_are_refused(write):
    text = GOOD.replace("epochs: 1}", "epochs: 1, trl: {weight_dcay: 0.1, output_dir: x, warmup_steps: 3}}")
    found = problems(write(text))
    assert any("weight_dcay" in line and "weight_decay" in line for line in found), found
    assert any("output_dir" in line for line in found), found
    assert not any("warmup_steps" in line for line in found)


def test_an_override_that_is_no_yaml_value_is_named(write):
    with pytest.raises(StudyError, match="about: the value '\[2024' cannot be read: not valid YAML"):
        Study.load(write(GOOD), ["about=[2024"])


@pytest.mark.parametrize("path", ["a" * 5000, "~nobody-of-that-name/x"])
def test_what_can_be_no_path_is_named(write, path):
    extra = f"hub_root: {path}\naudits: [{{kind: groups, lexicon: {path}}}]\n"
    text = GOOD.replace("path: mine.jsonl", f"path: {path}.jsonl").replace("base: []", f"base: [{{model: {path}}}]")
    found = problems(write(extra + text))
    for place in ("hub_root", "audits[0].lexicon", "data.mine.source.path", "arms.base[0].path"):
        assert any(f"{place}: can be no path: " in line for line in found), (place, found)


def test_a_lexicon_that_is_no_file_is_named(write):
    for path, why in {"/dev/zero": "it is a pipe or a device", ".": "Is a directory"}.items():
        found = problems(write(GOOD + f"audits: [{{kind: groups, lexicon: {path}}}]\n"))
        assert any("audits[0]: cannot read" in line and why in line for line in found), found


def test_a_stage_changes_only_those_settings_of_lora_and_trl_that_it_names(write):
    text = GOOD.replace("seeds:", "lora: {r: 4, target_modules: [q_proj]}\nseeds:")
    text = text.replace("epochs: 1}", "trl: {weight_decay: 0.1, warmup_steps: 3}}")
    text = text.replace("lima: [{sft: lima}]", "lima: [{sft: lima, lora: {dropout: 0.1}, trl: {warmup_steps: 5}}]")
    study = Study.load(write(text))
    stage = study.stage(study.arms["lima"][0], seed=0)
    assert (stage.lora.r, stage.lora.dropout, stage.lora.target_modules) == (4, 0.1, ("q_proj",))
    assert stage.trl == {"weight_decay": 0.1, "warmup_steps": 5}


REWARDED = GOOD.replace("arms:\n", "reward_models:\n  judge: [{sft: lima}, {reward: hh}]\narms:\n")


def test_a_good_study_with_a_reward_model_loads(write):
    assert [entry.kind for entry in Study.load(write(REWARDED)).reward_models["judge"]] == ["sft", "reward"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{reward: hh}]", "{reward: lima}]", ["reward_models.judge[1].reward: needs comparisons, but 'lima' holds"]),
        ("[{sft: lima}, {reward: hh}]", "[{sft: lima}]", ["reward_models.judge: should end with {reward: "]),
        ("{sft: lima}, {reward: hh}", "{reward: hh}, {reward: hh}", ["reward_models.judge[0]: nothing can follow"]),
        ("lima: [{sft: lima}]", "lima: [{reward: hh}]", ["arms.lima[0]: a reward model gives scores, no answers"]),
        (
            "n: 5}]",
            "n: 5}, {kind: rank, reward_model: jugde, n: 3}]",
            ["data.hh.curation[1].reward_model: no 'jugde' under `reward_models`; did you mean 'judge'?"],
        ),
        (
            "n: 5}]",
            "n: 5}, {kind: mix, with: {lmia: 0.5}}]",
            ["data.hh.curation[1].with: no data set 'lmia' under `data`; did you mean 'lima'?"],
        ),
        (
            "source: {kind: lima}}",
            "source: {kind: lima}, curation: [{kind: flip_labels, p: 0.1}]}",
            ["data.lima.curation[0]: needs comparisons, but these are demonstrations"],
        ),
        (
            "seeds: [0, 1]",
            "seeds: [0, 1]\naudits: [lenghts]",
            ["audits[0]: unknown kind; did you mean 'lengths'?"],
        ),
        ("seeds: [0, 1]", "seeds: [0, 1]\naudits: [lengths, lengths]", ["audits[1]: a second audit is of the kind"]),
        (
            "seeds: [0, 1]",
            "seeds: [0, 1]\nassumptions: {training.sft.epohcs: a guess}",
            ["line 4: assumptions.training.sft.epohcs: the study sets nothing there"],
        ),
        ("seeds: [0, 1]", "seeds: [0, 1]\nreference: papr", ["line 4: reference: ", "did you mean 'paper'?"]),
    ],
)
def test_reward_models_curation_and_audits_are_checked(write, old, new, expected):
    assert old in REWARDED
    found = "\n".join(problems(write(REWARDED.replace(old, new, 1))))
    for text in expected:
        assert text in found


WITH_GRPO = GOOD.replace(
    "arms:\n", "reward_models: {judge: [{reward: hh}]}\narms:\n  g: [{sft: lima}, {grpo: lima, reward_model: judge}]\n"
)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (", reward_model: judge}", "}", ["line 14: arms.g[1]: should have exactly one of `reward_function` and"]),
        ("reward_model: judge}", "reward_model: judg}", ["arms.g[1].reward_model: no 'judg'", "did you mean 'judge'"]),
        ("reward_model: judge}", "reward_function: 'my.py:nice'}", ["arms.g[1]: there is no file", "my.py"]),
        ("reward_model: judge}", "reward_function: nice}", ["arms.g[1].reward_function: should be my_rewards.py:name"]),
        ("{sft: lima}, {grpo", "{kto: tox}, {grpo", ["arms.g[0].kto: needs comparisons, but 'tox' holds statements"]),
        ("{sft: lima}, {grpo", "{orpo: lima}, {grpo", ["arms.g[0].orpo: needs comparisons"]),
        ("training:\n", "training:\n  kto: {batch_size: 1}\n", ["training.kto.batch_size: should be greater than 1"]),
        (
            "training:\n",
            "training:\n  orpo: {trl: {bta: 1}}\n",
            ["training.orpo.trl: TRL has no setting 'bta' for orpo"],
        ),
        ("seeds: [0, 1]", "lora: false", ["lora: a reward model is a LoRA and a score head"]),
        ("seeds: [0, 1]", "lora: null", ["lora: should be settings of LoRA, or false to train every weight"]),
        ("seeds: [0, 1]", "lora: {dorra: true}", ["lora.dorra: unknown key; did you mean 'dora'?"]),
        ("beta: 0.1}", "lora: {targets: [a]}}", ["arms.both[1].lora.targets: unknown key; did you mean 'target_mod"]),
        (
            "{kind: from_scratch, corpus: [lima]}",
            "{kind: hub, path: org/name, quantization: nf4}\nlora: false",
            ["arms.lima[0]: a model in nf4 cannot have every weight trained; give it a LoRA"],
        ),
    ],
)
def test_what_later_stages_cannot_do_is_named(write, old, new, expected):
    assert old in WITH_GRPO
    found = problems(write(WITH_GRPO.replace(old, new, 1)))
    for part in expected:
        assert any(part in line for line in found), found


@pytest.mark.parametrize(
    "text",
    [
        WITH_GRPO,
        WITH_GRPO.replace("training:\n", "training:\n  grpo: {num_generations: 4}\n"),
        WITH_GRPO.replace("training:\n", "lora: false\ntraining:\n  reward: {lora: {r: 4}}\n"),
        WITH_GRPO.replace("seeds: [0, 1]", "lora: false").replace("{reward: hh}", "{reward: hh, lora: {r: 4}}"),
        GOOD.replace("seeds: [0, 1]", "lora: false"),
    ],
    ids=["as it is", "shared settings lack a reward", "a LoRA for reward models", "for one", "without any"],
)
def test_what_one_layer_of_settings_lacks_another_may_give(write, text):
    study = Study.load(write(text))
    assert all(study.stage(entry, 0) for entries in study.arms.values() for entry in entries)


def test_the_settings_of_a_lora_can_follow_no_lora(write):
    text = GOOD.replace("seeds: [0, 1]", "lora: false").replace("beta: 0.1}", "lora: {r: 4}}")
    study = Study.load(write(text))
    assert [study.stage(entry, 0).lora and study.stage(entry, 0).lora.r for entry in study.arms["both"]] == [False, 4]


def test_problems_are_the_same_in_another_process(write):
    with pytest.raises(StudyError) as caught:
        Study.load(write(GOOD.replace("sft: lima", "sft: lma")))
    there = pickle.loads(pickle.dumps(caught.value))
    assert (str(there), there.problems) == (str(caught.value), caught.value.problems)


def test_a_problem_is_one_line_whatever_stands_in_a_path(write):
    with pytest.raises(StudyError) as caught:
        Study.load(write(GOOD.replace("{kind: from_scratch, corpus: [lima]}", r'{kind: hub, path: "./a\nb"}')))
    [told] = str(caught.value).splitlines()
    assert r"/a\nb; give a model's folder" in told
