import os
from itertools import pairwise

import pytest

from datatrial.errors import StudyError
from datatrial.yaml_file import ABSENT, LARGEST, LONGEST_CHAIN, YamlFile, value_at

TEXT = """\
name: x
training:
  sft: {learning_rate: 1e-4, epochs: 2}
contrasts:
  - {arm: a, against: b, on: [mmlu]}
  - arm: c
"""


def test_values_are_plain_and_yaml_1_2():
    values = YamlFile.parse(TEXT).values
    assert values["training"]["sft"] == {"learning_rate": 0.0001, "epochs": 2}  # 1e-4 is a number
    assert values["contrasts"][0]["on"] == ["mmlu"]  # and `on` is no truth value
    assert type(values["training"]) is dict
    assert type(values["name"]) is str


@pytest.mark.parametrize(
    "odd",
    [
        *("\x85", " \x85 ", "a\x85b", "\u2028", "a\u2029", "\n", "a\n\n b", "\r", "\t"),
        *("long " * 30, "long  " * 30, "long \n " * 30, f"{'long' * 15}  |{'long' * 15}", "a" * 200),
        *("# ", ": ", "'", '"', "é", ":", ":a", ":&<", "?", "?a", "? a", "a?", "-", "- a"),
    ],
)
def test_what_is_written_is_read_as_it_was(odd):
    values = {"a": {"of": odd, odd: None}, odd: [odd, {odd: {odd: 1}}]}
    assert YamlFile.parse(YamlFile(values, {}).text()).values == values


def test_every_place_has_its_line():
    file = YamlFile.parse(TEXT)
    assert file.line(("training", "sft")) == 3
    assert file.line(("contrasts", 1, "arm")) == 6
    assert file.line(("contrasts", 1, "no such key")) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [x", "line 1: not valid YAML"),
        ("name: x\nname: y", "duplicate key"),
        ("- a\n- b", "should be a mapping"),
        ("", "should be a mapping"),
        ("a: *nowhere", "undefined alias"),
        ("a: !!python/object:os.system {}", "line 1: a: the tag !!python/object:os.system means nothing here"),
    ],
)
def test_what_is_not_a_yaml_mapping_is_refused_with_its_line(text, message):
    with pytest.raises(StudyError, match=message):
        YamlFile.parse(text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"there is no .*nowhere\.yaml.*datatrial init"):
        YamlFile.read(tmp_path / "nowhere.yaml")


def test_overrides_reach_into_mappings_and_lists_and_make_what_is_absent():
    file = YamlFile.parse(TEXT).with_overrides(
        ["training.sft.epochs=3", "training.dpo.beta=0.2", "contrasts.1.arm=d", "seeds=[0, 1]", "name=null"]
    )
    assert file.values["training"] == {"sft": {"learning_rate": 0.0001, "epochs": 3}, "dpo": {"beta": 0.2}}
    assert file.values["contrasts"][1] == {"arm": "d"}
    assert file.values["seeds"] == [0, 1]
    assert file.values["name"] is None


@pytest.mark.parametrize(
    "text",
    [
        "epochs",
        "=3",
        "contrasts.7.arm=x",
        "contrasts.last=x",
        "contrasts.²=x",
        f"contrasts.{'9' * 5000}.arm=x",
        "name.deeper=1",
        "seeds=[1",
        "name=*a",
        "name=!!python/object/apply:os.system [ls]",
        f"name={'[' * 30_000}",
        f"name={'9' * 5000}",
        f"{'a.' * 30_000}b=1",
        "." * 30_000 + "=1",
        "two\nlines",
    ],
)
def test_an_override_that_cannot_be_meant_is_refused_in_one_line(text):
    with pytest.raises(StudyError) as caught:
        YamlFile.parse(TEXT).with_overrides([text])
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["2", "²", "9" * 5000, "-1"])
def test_no_item_has_a_number_that_is_none_of_theirs(part):
    assert value_at({"seeds": [0, 1]}, f"seeds.{part}") is ABSENT


def test_overrides_leave_the_original_as_it_was():
    file = YamlFile.parse(TEXT)
    file.with_overrides(["training.sft.epochs=3"])
    assert file.values["training"]["sft"]["epochs"] == 2


def test_a_study_extends_another_key_by_key(tmp_path):
    (tmp_path / "general.yaml").write_text(
        "name: general\nseeds: [0, 1]\ntraining: {sft: {epochs: 2, batch_size: 4}, dpo: {}}\n"
    )
    own = tmp_path / "own.yaml"
    own.write_text("extends: general.yaml\nname: own\nseeds: [3]\ntraining: {sft: {epochs: 1}, dpo: null}\n")
    assert YamlFile.read(own).values == {
        "name": "own",
        "seeds": [3],
        "training": {"sft": {"epochs": 1, "batch_size": 4}},
    }


def test_problems_of_an_extended_study_point_at_no_line_of_the_other_file(tmp_path):
    (tmp_path / "general.yaml").write_text("name: general\nmodel:\n  kind: hub\n")
    (tmp_path / "own.yaml").write_text("extends: general.yaml\nseeds: [3]\nmodel: {path: x}\n")
    file = YamlFile.read(tmp_path / "own.yaml")
    assert file.line(("seeds", 0)) == 2
    assert file.line(("model", "kind")) is None


@pytest.mark.parametrize(
    "text",
    [
        "extends: own.yaml",
        "extends: [a]",
        "extends: nowhere.yaml",
        "extends: ../elsewhere.yaml",
        "extends: ..",
        "extends: ''",
        'extends: "a\\0b"',
        f"extends: {'a' * 5000}",
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path, text):
    own = tmp_path / "own.yaml"
    own.write_text(text + "\nname: x\n")
    with pytest.raises(StudyError):
        YamlFile.read(own)


def test_a_chain_of_studies_has_an_end(tmp_path):
    names = [f"{number}.yaml" for number in range(LONGEST_CHAIN + 2)]
    for name, other in pairwise(names):
        (tmp_path / name).write_text(f"extends: {other}\nname: x\n")
    (tmp_path / names[-1]).write_text("about: the last\n")
    assert YamlFile.read(tmp_path / names[1]).values == {"about": "the last", "name": "x"}
    with pytest.raises(StudyError, match="more than 20 files extend one another"):
        YamlFile.read(tmp_path / names[0])


def test_only_files_of_some_length_in_utf_8_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(LARGEST + 1)
    for name, message in {
        "pipe": "it is a pipe or a device",
        "device": "it is a pipe or a device",
        "folder": "Is a directory",
        "latin": "it is not in UTF-8",
        "large": "it has 1.0 MB, and at most 1.0 MB are read",
    }.items():
        with pytest.raises(StudyError, match=rf"cannot read .*{name}\.yaml: {message}"):
            YamlFile.read(tmp_path / f"{name}.yaml")
        (tmp_path / "own.yaml").write_text(f"extends: {name}.yaml\nname: x\n")
        with pytest.raises(StudyError, match=rf"cannot read .*{name}\.yaml: {message}"):
            YamlFile.read(tmp_path / "own.yaml")


ASSUMED = """\
training:
  sft: {budget: {steps: 500}, learning_rate: 1e-4, trl: {warmup_steps: 100}}
assumptions:
  training.sft.budget.steps: The recipe's.
  training.sft.learning_rate: The recipe's.
  training.sft.trl: The recipe's.
"""


@pytest.mark.parametrize(
    ("override", "training", "left"),
    [
        ("training.sft.epochs=2", {"epochs": 2}, ["learning_rate", "trl"]),
        ("training.sft.budget={tokens: 100}", {"budget": {"tokens": 100}}, ["learning_rate", "trl"]),
        ("training.sft.budget.tokens=100", {"budget": {"tokens": 100}}, ["learning_rate", "trl"]),
        ("training.sft.learning_rate=1e-4", {"budget": {"steps": 500}}, ["budget.steps", "learning_rate", "trl"]),
        ("training.sft.trl.warmup_steps=4", {"budget": {"steps": 500}}, ["budget.steps", "learning_rate"]),
    ],
)
def test_the_length_of_training_is_one_setting_and_reasons_hold_for_values(override, training, left):
    values = YamlFile.parse(ASSUMED).with_overrides([override]).values
    assert {key: value for key, value in values["training"]["sft"].items() if key in ("epochs", "budget")} == training
    assert list(values["assumptions"]) == [f"training.sft.{name}" for name in left]


def test_a_variant_keeps_the_assumptions_about_what_it_leaves_as_it_was(tmp_path):
    (tmp_path / "general.yaml").write_text(ASSUMED)
    own = "extends: general.yaml\ntraining: {sft: {epochs: 1, learning_rate: 1e-5}}\n"
    (tmp_path / "own.yaml").write_text(own + "assumptions: {training.sft.learning_rate: Ours.}\n")
    file = YamlFile.read(tmp_path / "own.yaml")
    assert file.values["training"]["sft"] == {"epochs": 1, "learning_rate": 1e-5, "trl": {"warmup_steps": 100}}
    assert file.values["assumptions"] == {"training.sft.learning_rate": "Ours.", "training.sft.trl": "The recipe's."}
    assert file.extended == tmp_path / "general.yaml"
