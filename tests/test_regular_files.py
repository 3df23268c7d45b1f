import os
from pathlib import Path

import pytest

from datatrial.records import read_json
from datatrial.regular_files import opened, text_of


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("zwölf", encoding="utf-8")
    (tmp_path / "link").symlink_to("file")
    assert text_of(tmp_path / "link", 6) == "zwölf"


def test_what_may_never_end_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/zero")):
        with pytest.raises(OSError, match="it is a pipe or a device"):
            opened(path)


def test_a_folder_and_a_missing_file_are_what_they_always_were(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        opened(tmp_path)
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "none")


def test_no_more_is_read_than_may_be(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(10 * 2**30)  # a file with a hole: it takes no room on the disk
    with pytest.raises(OSError, match=r"it has 10\.7 GB, and at most 1\.0 kB are read"):
        text_of(tmp_path / "large", 1000)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{", "\ufeff{}"])
def test_what_is_no_json_is_a_value_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")
