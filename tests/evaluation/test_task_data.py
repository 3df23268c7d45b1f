"""Where tasks have their data from."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.errors import DataError
from datatrial.evaluation._task_data import _configurations, local_settings, needs_of
from datatrial.evaluation._tasks import Leaf, read_tasks
from datatrial.records import HubFiles, LocalFiles

CARD = """\
---
configs:
- config_name: owls
  data_files:
  - {split: test, path: owls/test-*}
  - {split: dev, path: owls/dev-*}
- config_name: herons
  data_files:
  - {split: test, path: herons/test-*}
---
"""


def leaf(folder: Path, **settings: Any) -> Leaf:
    return Leaf("t", folder / "t.yaml", {}, {"task": "t", **settings})


def parquet(path: Path, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"question": [f"q{i}" for i in range(rows)]}).write_parquet(path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A mirror with a card of two configurations, of which only the second was fetched."""
    folder = tmp_path / "world" / "birds"
    parquet(folder / "herons" / "test-00000-of-00001.parquet", 3)
    (folder / "README.md").write_text(CARD)
    return folder


def read(settings: dict[str, Any]) -> dict[str, int]:
    import datasets

    found = datasets.load_dataset(
        settings["dataset_path"], settings.get("dataset_name"), **settings.get("dataset_kwargs", {})
    )
    return {split: len(rows) for split, rows in found.items()}


def test_stock_tasks_need_their_hub_repository() -> None:
    assert needs_of(read_tasks("piqa").leaves) == {"data/baber/piqa": HubFiles("baber/piqa")}


def test_of_mmlu_only_the_subjects_asked_for_are_fetched() -> None:
    needs = needs_of([*read_tasks("mmlu_anatomy").leaves, *read_tasks("mmlu_virology").leaves])
    patterns = ("README.md", "anatomy/*", "virology/*")
    assert needs == {"data/cais/mmlu": HubFiles("cais/mmlu", "dataset", "main", patterns)}


def test_files_of_a_users_task_lie_beside_its_yaml(tmp_path: Path) -> None:
    task = leaf(tmp_path, dataset_path="json", dataset_kwargs={"data_files": {"test": "a.jsonl", "train": ["b.jsonl"]}})
    assert needs_of([task]) == {
        "data/a.jsonl": LocalFiles(tmp_path / "a.jsonl"),
        "data/b.jsonl": LocalFiles(tmp_path / "b.jsonl"),
    }
    settings = local_settings(task, {"data/a.jsonl": Path("/x/a"), "data/b.jsonl": Path("/x/b")}, tmp_path / "cache")
    assert settings["dataset_kwargs"]["data_files"] == {"test": "/x/a", "train": ["/x/b"]}


def test_a_folder_of_a_users_task_may_hold_its_data(tmp_path: Path) -> None:
    parquet(tmp_path / "birds" / "test.parquet", 2)
    task = leaf(tmp_path, dataset_path="birds")
    assert needs_of([task]) == {"data/birds": LocalFiles(tmp_path / "birds")}
    assert read(local_settings(task, {"data/birds": tmp_path / "birds"}, tmp_path / "cache")) == {"test": 2}


@pytest.mark.parametrize("file", ["part-*.jsonl", "https://example.org/owls.jsonl"])
def test_data_files_must_be_named_and_local(tmp_path: Path, file: str) -> None:
    with pytest.raises(DataError, match="list the files by name"):
        needs_of([leaf(tmp_path, dataset_path="json", dataset_kwargs={"data_files": file})])


def test_a_configuration_is_read_although_the_cards_first_one_was_not_fetched(repository: Path, tmp_path: Path) -> None:
    task = leaf(tmp_path, dataset_path="world/birds", dataset_name="herons")
    task = Leaf("t", tmp_path / "far" / "t.yaml", {}, task.settings)  # not beside the folder world/
    assert read(local_settings(task, {"data/world/birds": repository}, tmp_path / "cache")) == {"test": 3}


def test_a_mirror_without_a_card_is_read_by_its_files_names(repository: Path, tmp_path: Path) -> None:
    (repository / "README.md").unlink()
    parquet(repository / "herons" / "dev-00000-of-00001.parquet", 2)
    parquet(repository / "herons" / "validation-00000-of-00001.parquet", 4)
    task = Leaf("t", tmp_path / "far" / "t.yaml", {}, {"dataset_path": "world/birds", "dataset_name": "herons"})
    splits = read(local_settings(task, {"data/world/birds": repository}, tmp_path / "cache"))
    assert splits == {"test": 3, "dev": 2, "validation": 4}  # `datasets` alone would count dev as validation


def test_a_configuration_that_is_not_there_is_named_with_those_that_are(repository: Path, tmp_path: Path) -> None:
    task = Leaf("t", tmp_path / "far" / "t.yaml", {}, {"dataset_path": "world/birds", "dataset_name": "swans"})
    with pytest.raises(DataError, match="no configuration 'swans'; it has herons, owls"):
        local_settings(task, {"data/world/birds": repository}, tmp_path / "cache")


@pytest.mark.parametrize("header", ["[" * 50_000, "configs: &a [*a]", "configs: ["])
def test_a_card_that_would_kill_its_reader_is_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "README.md").write_text(f"---\n{header}\n---\n")
    with pytest.raises(DataError, match="cannot read the settings in"):
        _configurations(tmp_path / "README.md")


@pytest.mark.parametrize("header", ["[1]", "configs: 3", "configs: [3, {data_files: a}]"])
def test_a_card_that_says_nothing_of_configurations_has_none(tmp_path: Path, header: str) -> None:
    (tmp_path / "README.md").write_text(f"---\n{header}\n---\n")
    assert _configurations(tmp_path / "README.md").keys() <= {"None"}


def test_a_task_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name no data set"):
        local_settings(leaf(tmp_path, dataset_path="json"), {}, tmp_path)


def test_other_contents_of_a_mirror_are_read_anew(tmp_path: Path) -> None:
    folder, cache = tmp_path / "world" / "birds", tmp_path / "cache"
    task = leaf(tmp_path / "tasks", dataset_path="world/birds")
    counts = []
    for rows in (3, 5):
        parquet(folder / "data" / "test-00000-of-00001.parquet", rows)
        (folder / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: data/test-*\n---\n")
        counts += read(local_settings(task, {"data/world/birds": folder}, cache)).values()
    assert counts == [3, 5]
