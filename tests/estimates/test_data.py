"""How many rows a data set has, before and after it was made."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.curation._base import CurationOp, Expected
from datatrial.data_set import DataSet
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.estimates import data
from datatrial.estimates.data import DataSize, data_size
from datatrial.externals import LocalExternal
from datatrial.records import PartOfStudy, Runtime
from datatrial.tables import Table


def lima(*curation: Mapping[str, Any]) -> Step:
    return Step(DataSet.model_validate({"source": {"kind": "lima"}, "curation": list(curation)}))


def size(step: Step, tmp_path: Path) -> DataSize:
    return data_size(step, Store(tmp_path / "store"))


def local(file: Path) -> Step:
    task = DataSet.model_validate({"source": {"kind": "json_file", "path": str(file)}})
    return Step(task, {}, {"file": LocalExternal(file, "digest")})


def test_before_anything_is_there_it_is_as_published(tmp_path: Path) -> None:
    found = size(lima(), tmp_path)
    assert (found.rows, found.bound, found.source) == (1030, "", "as published")
    assert found.characters


@pytest.mark.parametrize("kind", ["shp", "lima", "hh_rlhf", "open_orca", "safenlp"])
def test_the_papers_data_can_be_planned_with_before_they_are_fetched(kind: str, tmp_path: Path) -> None:
    found = size(Step(DataSet.model_validate({"source": {"kind": kind}})), tmp_path)
    assert found.source == "as published"
    assert found.total and found.total > 100_000


@pytest.mark.parametrize("op", [{"kind": "sample"}, {"kind": "diverse"}, {"kind": "rank", "by": "score"}])
def test_ops_that_keep_n_rows_leave_them_or_all_there_are(tmp_path: Path, op: dict[str, Any]) -> None:
    assert size(lima({**op, "n": 100}), tmp_path).rows == 100
    assert size(lima({**op, "n": 10**6}), tmp_path).rows == 1030


def test_of_other_ops_only_an_upper_bound_is_known(tmp_path: Path) -> None:
    drop = {"kind": "drop_mentions", "groups": ["women"]}
    assert (size(lima(drop), tmp_path).rows, size(lima(drop), tmp_path).bound) == (1030, "at most")
    sampled = size(lima(drop, {"kind": "sample", "n": 100}), tmp_path)
    assert (sampled.rows, sampled.bound) == (100, "")


def test_a_share_is_kept_of_what_is_ranked_and_flipped_labels_drop_nothing(tmp_path: Path) -> None:
    assert size(lima({"kind": "rank", "by": "score", "share": 0.5}), tmp_path).rows == 515
    flipped = DataSet.model_validate({"source": {"kind": "shp"}, "curation": [{"kind": "flip_labels", "p": 0.1}]})
    assert size(Step(flipped), tmp_path).bound == ""


def test_a_mixture_has_as_many_rows_as_its_smallest_part_allows(tmp_path: Path) -> None:
    def mixed(**settings: Any) -> DataSize:
        op = {"kind": "mix", "with": {"orca": 0.75}, **settings}
        task = DataSet.model_validate({"source": {"kind": "lima"}, "curation": [op]})
        orca = Step(DataSet.model_validate({"source": {"kind": "open_orca"}}))
        return size(Step(task, {"0:data-0": orca}), tmp_path)

    assert mixed().rows == 4 * 1030
    assert mixed(n=2000).rows == 2000
    assert (mixed().characters or 0) < (size(lima(), tmp_path).characters or 0)  # Orca's rows are shorter


class MixedHalf(CurationOp):
    """An op that estimates were not told of: it has its own half of the rows, and those of another data set."""

    def reads(self) -> Mapping[str, PartOfStudy]:
        return {"model": PartOfStudy("model"), "more": PartOfStudy("data", "more")}

    def rows_left(self, rows: Expected, others: Mapping[str, Expected]) -> Expected:
        assert others.keys() == {"more"}
        return Expected((rows.rows or 0) / 2 + (others["more"].rows or 0), "", 10.0)

    def apply(self, table: Table, inputs: Mapping[str, Path], runtime: Runtime) -> Table:
        return table


def test_any_op_can_say_what_it_leaves(tmp_path: Path) -> None:
    task = DataSet.model_validate({"source": {"kind": "lima"}, "curation": [{"kind": "sample", "n": 90}, MixedHalf()]})
    parts = {"1:model": Step(DataSet.model_validate({"source": {"kind": "lima"}}).source), "1:more": lima()}
    found = size(Step(task, parts), tmp_path)
    assert (found.rows, found.bound, found.characters) == (45 + 1030, "", 10.0)
    assert (found.source, found.form) == ("as published", "demonstrations")


def made(step: Step, store: Store) -> None:
    """A result of seven rows."""
    folder = store.path(step)
    folder.mkdir(parents=True)
    rows = [{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}] * 7
    Table.of(pl.DataFrame(rows), "demonstrations").write(folder)
    (folder / "record.json").write_text("{}")


def test_what_was_made_goes_before_what_is_published(tmp_path: Path) -> None:
    store, step = Store(tmp_path / "store"), lima()
    made(step, store)
    assert (data_size(step, store).rows, data_size(step, store).source) == (7, "its result")


def test_lengths_are_counted_when_rows_are_made_and_go_before_what_is_known_of_the_source(tmp_path: Path) -> None:
    row = {"prompt": "How many?", "chosen": "Plenty, as ever.", "rejected": "Few."}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 50)
    file, store = tmp_path / "rows.jsonl", Store(tmp_path / "store")
    task = DataSet.model_validate({"source": {"kind": "json_file", "path": str(file)}})
    step = Step(task, {}, {"path": LocalExternal(file, "digest")})
    assert data_size(step, store).prompt_share == 0.2  # nobody knows what a file holds
    store.open()
    store.build(store.work(step), Runtime())
    found = data_size(step, store)
    assert (found.rows, found.form) == (50, "comparisons")
    assert found.characters == sum(map(len, row.values())) + 2 * len("\n\n")
    assert found.prompt_share == pytest.approx(len("How many?") / found.characters)
    assert found.chosen_share == (1 + found.prompt_share) / 2


def test_an_audit_tells_the_tokens_of_a_row(tmp_path: Path) -> None:
    store, audit = Store(tmp_path / "store"), lima({"kind": "sample", "n": 7})  # any step with a result
    for step in (lima(), audit):
        made(step, store)
    facts = [{"name": "rows", "value": 7}, {"name": "tokens", "value": 70}]
    (store.path(audit) / "audit.json").write_text(json.dumps({"lengths": {"facts": facts}}))
    assert data_size(lima(), store, audit).tokens_of_a_row(4.0) == 10


def test_rows_of_a_file_on_this_disk_are_counted(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"How many are {n} plums?", "completion": "Plenty."}) for n in range(50)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "rows.json").write_text("[" + ",\n".join(lines) + "]")
    (tmp_path / "rows.csv").write_text("prompt,completion\n" + "a,b\n" * 50)
    pl.DataFrame({"prompt": ["a"] * 50, "completion": ["b"] * 50}).write_parquet(tmp_path / "rows.parquet")
    for name in ("rows.jsonl", "rows.jsonl.gz", "rows.json", "rows.csv", "rows.parquet"):
        found = size(local(tmp_path / name), tmp_path)
        assert (found.rows, found.bound) == (50, "at most"), name
        assert (found.characters is None) == (name == "rows.parquet")


def test_of_files_that_are_broken_or_hold_too_much_no_rows_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_LARGEST_PLAIN", 1000)
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 100_000))
    (tmp_path / "deep.json").write_text("[" * 900)
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"[1, 2, 3]")[:-5])
    for name in ("bomb.jsonl.gz", "deep.json", "cut.json.gz"):
        assert data.rows_of(tmp_path / name) is None


def test_how_long_rows_are_is_known_after_a_run_as_before(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "How many?", "completion": "Plenty."}\n' * 50)
    store, step = Store(tmp_path / "store"), local(tmp_path / "rows.jsonl")
    before = data_size(step, store)
    made(step, store)
    after = data_size(step, store)
    assert (after.rows, after.characters) == (7, before.characters)
    assert before.characters


def test_an_unreadable_file_leaves_the_rows_unknown(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"nothing of the kind")
    assert size(local(tmp_path / "rows.parquet"), tmp_path).rows is None
    (tmp_path / "rows.json").write_text("[1, 2")
    assert size(local(tmp_path / "rows.json"), tmp_path).rows is None
