"""No card of a data set makes us read what is not the data set's own: other files of this disk, or a URL."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from datatrial.errors import DataError
from datatrial.evaluation._task_data import local_settings
from datatrial.evaluation._tasks import Leaf
from datatrial.sources.hub import Hub

ROW = '{"text": "a row of its own"}\n'


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror" / "moon" / "tales"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(ROW)
    (tmp_path / "mirror" / "moon" / "private").mkdir()
    (tmp_path / "mirror" / "moon" / "private" / "train.jsonl").write_text('{"text": "private"}\n')
    return folder


def card(data_files: Any, before: str = "", **more: Any) -> str:
    configs = [{"config_name": "default", "data_files": data_files, **more}]
    return f"{before}---\n{yaml.safe_dump({'configs': configs})}---\n"


def texts(folder: Path, **settings: Any) -> list[str]:
    found: list[str] = Hub.model_validate({"path": "moon/tales", **settings}).read({"repository": folder}).rows["text"]
    return list(found)


ELSEWHERE = ["../private/train.jsonl", "../private/*", "https://127.0.0.1:9/train.jsonl", "zip://a::../private.zip"]


@pytest.mark.parametrize("place", [*ELSEWHERE, "absolute"])
@pytest.mark.parametrize("form", ["text", "list", "splits", "by split"])
def test_a_card_that_names_files_elsewhere_is_refused(repository: Path, place: str, form: str) -> None:
    place = str(repository.parent / "private" / "train.jsonl") if place == "absolute" else place
    forms = {"text": place, "list": [place], "splits": [{"split": "train", "path": [place]}], "by split": {"a": place}}
    (repository / "README.md").write_text(card(forms[form]))
    with pytest.raises(DataError, match="outside of the repository and is never read"):
        texts(repository)
    task = Leaf("t", repository.parent / "t.yaml", {}, {"dataset_path": "moon/tales"})
    with pytest.raises(DataError, match="outside of the repository and is never read"):
        local_settings(task, {"data/moon/tales": repository}, repository)


@pytest.mark.parametrize("before", ["\n", "  \n\n"])
def test_a_card_is_read_as_the_library_reads_it(repository: Path, before: str) -> None:
    (repository / "README.md").write_text(card("../private/train.jsonl", before))
    with pytest.raises(DataError, match="outside of the repository"):
        texts(repository)


def test_the_other_file_with_configs_is_looked_at_too(repository: Path) -> None:
    (repository / ".huggingface.yaml").write_text(card("../private/train.jsonl").replace("---\n", ""))
    with pytest.raises(DataError, match=r"\.huggingface\.yaml name '\.\./private"):
        texts(repository)


def test_a_subset_cannot_be_a_folder_elsewhere(repository: Path) -> None:
    with pytest.raises(DataError, match=r"private/train\.jsonl is outside of the repository"):
        texts(repository, subset="../private")


def test_a_repository_and_its_files_may_be_links_as_in_the_cache_of_the_hub(repository: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "0123"
    blob.parent.mkdir()
    (repository / "train.jsonl").rename(blob)
    (repository / "train.jsonl").symlink_to(blob)
    (repository / "README.md").write_text(card("train.jsonl"))
    link = tmp_path / "link"
    link.symlink_to(repository)
    assert texts(repository) == texts(link) == ["a row of its own"]
