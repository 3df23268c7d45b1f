"""What a task's name or file stands for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datatrial.errors import DataError
from datatrial.evaluation import _stock
from datatrial.evaluation._tasks import read_tasks

LEAF = """\
include: {template}
task: {name}
doc_to_text: !function utils.{function}
"""
TEMPLATE = """\
dataset_path: json
dataset_kwargs: {data_files: {test: owls.jsonl}}
test_split: test
output_type: multiple_choice
num_fewshot: 0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tasks over one template, with a function, and a group of both."""
    (tmp_path / "_template_yaml").write_text(TEMPLATE)
    (tmp_path / "utils.py").write_text("def ask(doc):\n    return doc['question']\n")
    for name in ("owls", "herons"):
        (tmp_path / f"{name}.yaml").write_text(LEAF.format(template="_template_yaml", name=name, function="ask"))
    (tmp_path / "birds.yaml").write_text(
        "group: birds\ntask:\n  - owls\n  - {task: herons, num_fewshot: 3}\nnum_fewshot: 1\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    )
    return tmp_path


def digest(path: Path) -> str:
    [leaf] = read_tasks(str(path)).leaves
    return leaf.digest


def test_a_task_has_its_templates_settings_and_its_own() -> None:
    [leaf] = read_tasks("arc_challenge").leaves
    assert leaf.settings["dataset_name"] == "ARC-Challenge"
    assert leaf.settings["dataset_path"] == "allenai/ai2_arc"  # from the included arc_easy.yaml
    assert leaf.settings["task"] == "arc_challenge"


def test_mmlu_is_its_57_subjects_in_four_subgroups() -> None:
    tasks = read_tasks("mmlu")
    assert len(tasks.leaves) == 57
    assert set(tasks.identity["groups"]) == {
        "mmlu",
        *(f"mmlu_{s}" for s in ["stem", "other", "social_sciences", "humanities"]),
    }


def test_a_groups_settings_override_its_members_and_a_members_entry_overrides_the_groups(folder: Path) -> None:
    tasks = read_tasks(str(folder / "birds.yaml"))
    assert {leaf.name: leaf.settings["num_fewshot"] for leaf in tasks.leaves} == {"owls": 1, "herons": 3}


def test_a_tag_stands_for_the_tasks_that_carry_it() -> None:
    names = [leaf.name for leaf in read_tasks("ai2_arc").leaves]
    assert names == ["arc_challenge", "arc_easy"]


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(DataError, match=r"no task, group or tag 'arc_chalenge'; did you mean arc_challenge"):
        read_tasks("arc_chalenge")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group: g\ntask: [g]\n", "contains itself"),
        ("group: g\n", "lists no tasks"),
        ("group: g\ntask: [{task: mine, output_type: multiple_choice}]\n", "defines 'mine' in its own list"),
        ("task: t\nclass: !function code.Task\n", "Python class"),
        ("task: [\n", "not valid YAML"),
        ("include: gone.yaml\ntask: t\n", "gone.yaml: cannot be read"),
        ("dataset_path: json\n", "needs `task: NAME`"),
        ("- a list\n", "a mapping of settings"),
    ],
)
def test_a_file_that_is_no_task_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_tasks(str(tmp_path / "mine.yaml"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.yaml: there is no such file"):
        read_tasks(str(tmp_path / "gone.yaml"))


def test_a_template_and_a_function_count_as_much_as_the_file_itself(folder: Path) -> None:
    before = digest(folder / "owls.yaml")
    (folder / "utils.py").write_text("def ask(doc):\n    return 'Q: ' + doc['question']\n")
    other_function = digest(folder / "owls.yaml")
    (folder / "_template_yaml").write_text(TEMPLATE.replace("num_fewshot: 0", "num_fewshot: 4"))
    assert len({before, other_function, digest(folder / "owls.yaml")}) == 3


def test_comments_and_the_place_of_a_file_do_not_count(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("_template_yaml", "utils.py", "owls.yaml"):
        (elsewhere / name).write_text((folder / name).read_text())
    with (elsewhere / "owls.yaml").open("a") as file:
        file.write("# about owls\n")
    assert digest(elsewhere / "owls.yaml") == digest(folder / "owls.yaml")


def test_reading_tasks_imports_neither_lm_eval_nor_torch() -> None:
    code = """
import sys
from datatrial.evaluation.lm_eval import LmEval
benchmark = LmEval(task="mmlu")
assert len(benchmark.identity()["tasks"]["tasks"]) == 57 and benchmark.needs()
heavy = {"lm_eval", "torch", "datasets", "transformers", "numpy", "polars"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("include: owls.yaml\ntask: owls\n", "includes itself"),
        ("include: [../tasks/_loop_yaml]\ntask: owls\n", "includes itself"),
        ("group: birds\ntask: [no such bird]\n", "no task, group or tag 'no such bird'"),
        ("include: pipe\ntask: owls\n", "it is a pipe or a device"),
        ("task: owls\ndeep: " + "[" * 50_000, "nested more than 100 deep"),
        ("task: owls\na: &a [*a]\n", "with its aliases"),
        ("task: owls\na: caf\xe9\n", "not valid YAML"),
    ],
)
def test_a_task_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.yaml")
    for name in ("_loop_yaml", "loop.yaml"):
        (folder / name).write_text(f"include: ../tasks/{name}\ntask: loop\n")
    (folder / "owls.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=why) as caught:
        read_tasks(str(folder / "owls.yaml"))
    assert "\n" not in str(caught.value)


def test_names_are_found_where_no_index_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    _stock._kept_index.cache_clear()
    _stock._read_index.cache_clear()
    entry = _stock.find("mmlu_stem_tasks")
    assert entry
    assert entry.kind == "tag"
    assert len(entry.members) == 19
    _stock._kept_index.cache_clear()


@pytest.mark.slow
def test_the_index_is_lm_evals_own() -> None:
    from lm_eval.tasks._index import TaskIndex

    kinds = {"TASK": "task", "PY_TASK": "class", "GROUP": "group", "TAG": "tag"}
    folders = sorted(folder for folder in _stock.tasks_folder().iterdir() if folder.is_dir())
    for folder in folders[::8]:  # all of them take half a minute
        theirs = {
            name: (kinds[e.kind.name], e.yaml_path, tuple(sorted(e.tags)) if e.kind.name == "TAG" else ())
            for name, e in TaskIndex.build([folder]).items()
        }
        ours = _stock.index_of(_stock._yaml_files(str(folder)))
        assert {name: (e.kind, e.path, e.members) for name, e in ours.items()} == theirs, folder.name
