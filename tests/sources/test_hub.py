import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from datatrial.errors import DataError
from datatrial.externals import HubExternal, Lock, Resolver
from datatrial.records import HubFiles
from datatrial.sources.hub import Hub
from datatrial.tables import Table
from tests.loopback import LoopbackHub, ask

CONFIGS = """---
license: cc-by-4.0
configs:
- config_name: tales
  default: true
  data_files:
  - split: train
    path: first/*.jsonl
  - split: held_out
    path: second/*.jsonl
- config_name: songs
  data_files: third/*.jsonl
---
# Tales
"""


def lines(*texts: str) -> str:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def source(**settings: Any) -> Hub:
    return Hub.model_validate({"path": "moon/tales", **settings})


def read(folder: Path, **settings: Any) -> Table:
    return source(**settings).read({"repository": folder})


def texts(folder: Path, **settings: Any) -> list[str]:
    found: list[str] = read(folder, **settings).rows["text"].to_list()
    return found


def failure(folder: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    "files",
    [
        {"train.jsonl": lines("a"), "test.jsonl": lines("b")},
        {"data/train-00000-of-00001.jsonl": lines("a"), "data/test-00000-of-00001.jsonl": lines("b")},
        {"train/rows.jsonl": lines("a"), "test/rows.jsonl": lines("b")},
        {"tales_train.json": lines("a"), "tales_test.json": lines("b"), "config.json": "{}"},
    ],
)
def test_a_split_is_found_by_the_names_of_files_and_folders(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    assert texts(tmp_path) == ["a"]
    assert texts(tmp_path, split="test") == ["b"]


def test_files_that_name_no_split_are_train(tmp_path: Path) -> None:
    assert sorted(texts(write(tmp_path, {"one.jsonl": lines("a"), "two.jsonl": lines("b")}))) == ["a", "b"]


def test_the_readmes_configs_say_which_files_are_which_splits(tmp_path: Path) -> None:
    names = ("first/a.jsonl", "first/b.jsonl", "second/train.jsonl", "third/c.jsonl")
    write(tmp_path, {"README.md": CONFIGS, **{name: lines(name) for name in names}})
    assert sorted(texts(tmp_path)) == ["first/a.jsonl", "first/b.jsonl"]
    assert texts(tmp_path, split="held_out") == ["second/train.jsonl"]
    assert texts(tmp_path, subset="songs") == ["third/c.jsonl"]
    assert read(tmp_path).card.source.licence == "cc-by-4.0"


def test_a_folder_can_be_the_subset(tmp_path: Path) -> None:
    write(tmp_path, {"north/train.jsonl": lines("a"), "south/train.jsonl": lines("b")})
    assert texts(tmp_path, subset="south") == ["b"]
    assert "did you mean" in failure(tmp_path, subset="sout") or "known" in failure(tmp_path, subset="sout")


def test_named_files_are_read_in_the_patterns_order_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, {"b/1.jsonl": lines("b1"), "b/2.jsonl": lines("b2"), "a.jsonl": lines("a"), "tales.py": "code"})
    assert texts(tmp_path, files=["b/*.jsonl", "a.jsonl"]) == ["b1", "b2", "a"]
    message = failure(tmp_path, files=["c/*.jsonl"])
    assert "moon/tales has no file c/*.jsonl" in message
    assert "a.jsonl" in message


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "json"])
def test_parquet_csv_and_json_are_read_with_the_columns_mapped(tmp_path: Path, kind: str) -> None:
    rows = pl.DataFrame({"ask": ["Where?", "Why?"], "say": ["Here.", "So."], "votes": [3, 1]})
    path = tmp_path / f"train.{kind}"
    match kind:
        case "parquet":
            rows.write_parquet(path)
        case "csv":
            rows.write_csv(path)
        case _:
            rows.write_ndjson(path)
    table = read(tmp_path, columns={"prompt": "ask", "completion": "say"})
    assert table.card.form == "demonstrations"
    assert [turns[-1]["content"] for turns in table.rows["messages"].to_list()] == ["Here.", "So."]
    assert [str(votes) for votes in table.rows["votes"]] == ["3", "1"]


def test_what_can_be_read_but_not_used_is_counted(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(lines("a", " "))
    table = read(tmp_path)
    assert (table.height, [(drop.reason, drop.rows) for drop in table.card.drops]) == (1, [("an empty text", 1)])
    assert table.card.source.origin == "moon/tales"


def test_a_loading_script_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    write(tmp_path, {"tales.py": "raise SystemExit", "train.jsonl": lines("a")})
    message = failure(tmp_path)
    assert "moon/tales comes with a loading script (tales.py)" in message
    assert "`revision: refs/convert/parquet`" in message
    assert texts(tmp_path, files=["train.jsonl"]) == ["a"]


def test_the_hubs_conversion_is_asked_for_one_subset_only(tmp_path: Path) -> None:
    converted = "refs/convert/parquet"
    for subset in ("default", "songs"):
        (tmp_path / subset / "train").mkdir(parents=True)
        pl.DataFrame({"text": [subset]}).write_parquet(tmp_path / subset / "train" / "0000.parquet")
    for settings, subset in (({}, "default"), ({"subset": "songs"}, "songs")):
        [needs] = source(revision=converted, **settings).needs().values()
        assert isinstance(needs, HubFiles)
        assert (needs.revision, needs.patterns[0]) == (converted, f"{subset}/*.parquet")
        assert texts(tmp_path, revision=converted, **settings) == [subset]


def test_a_split_and_a_subset_that_are_not_there_are_named_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path, {"README.md": CONFIGS.replace("  default: true\n", ""), "first/a.jsonl": lines("a")})
    write(tmp_path, {"second/a.jsonl": lines("a"), "third/a.jsonl": lines("a")})
    assert "has 2 subsets: choose one with `subset` (tales, songs)" in failure(tmp_path)
    assert "no subset 'tale'; did you mean 'tales'?" in failure(tmp_path, subset="tale")
    assert "no split 'heldout'; did you mean 'held_out'?" in failure(tmp_path, subset="tales", split="heldout")


def test_files_of_another_kind_are_named(tmp_path: Path) -> None:
    message = failure(write(tmp_path, {"train.txt": "Once."}))
    assert "train.txt: not a kind of file that can be read" in message
    message = failure(write(tmp_path / "empty", {"README.md": "# Tales"}))
    assert "moon/tales: cannot tell its files apart" in message
    assert "\n" not in message


def test_a_cut_parquet_file_is_named(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["a"] * 100}).write_parquet(tmp_path / "train.parquet")
    whole = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "train.parquet").write_bytes(whole[:-50])
    assert "train.parquet: not a whole Parquet file" in failure(tmp_path)


def test_it_is_downloaded_from_the_hub_with_what_tells_its_files_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"README.md": CONFIGS, "first/a.jsonl": lines("a"), "second/b.jsonl": lines("b"), "picture.png": "…"}
    with LoopbackHub().serving() as hub:
        ask(hub.url, tmp_path / "cache", monkeypatch)
        commit = hub.add("moon/tales", {name: content.encode() for name, content in files.items()})
        [needs] = source().needs().values()
        external = Resolver(Lock(None), ask_hub=True).resolve(needs)
        assert isinstance(external, HubExternal)
        external.fetch(lambda done: None)
        assert external.digest == commit
        assert "picture.png" not in hub.downloads()
        assert texts(external.locate()) == ["a"]
        assert texts(external.locate(), split="held_out") == ["b"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"path": "tales"}, "pattern"),
        ({"files": ["a.jsonl"], "split": "test"}, "leave out split"),
        ({"columns": {"choosen": "better"}}, "did you mean 'chosen'?"),
        ({"splits": "train"}, "did you mean 'split'?"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match="1 validation error") as caught:
        source(**settings)
    assert why in str(caught.value)


def test_what_selects_rows_is_part_of_the_identity_and_the_revisions_name_is_not() -> None:
    different = [{}, {"subset": "a"}, {"split": "test"}, {"files": ["a.jsonl"]}, {"columns": {"text": "body"}}]
    identities = [json.dumps(source(**settings).identity(), sort_keys=True) for settings in different]
    assert len(set(identities)) == len(identities)
    assert source(revision="v1").identity() == source().identity()


def test_a_readme_with_a_broken_header_states_no_licence(tmp_path: Path) -> None:
    folder = write(tmp_path, {"train.jsonl": lines("a"), "README.md": '---\nlicense: "mit\n---\n'})
    assert read(folder, files=["train.jsonl"]).card.source.licence == source().facts.licence


LAUGHS = "a0: &a0 [ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))


@pytest.mark.parametrize("header", [LAUGHS + "license: *a9", "configs: " + "[" * 50_000, "a: &a [*a]\nlicense: *a"])
def test_a_readme_that_would_fill_the_memory_is_not_read(tmp_path: Path, header: str) -> None:
    write(tmp_path, {"train.jsonl": lines("a"), "README.md": f"---\n{header}\n---\n"})
    assert "cannot read the settings in" in failure(tmp_path)
    assert read(tmp_path, files=["train.jsonl"]).card.source.licence == source().facts.licence


def test_the_subset_of_the_conversion_is_part_of_the_identity_and_the_revision_is_not() -> None:
    converted = source(revision="refs/convert/parquet")
    assert converted.identity() == source(subset="default").identity() != source().identity()
    assert source(revision="v2").identity() == source().identity()
    named = {"files": ["a.parquet"]}
    assert source(revision="refs/convert/parquet", **named).identity() == source(**named).identity()
