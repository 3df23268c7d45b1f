import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from datatrial.curation.flip_labels import FlipLabels
from datatrial.curation.sample import Sample
from datatrial.data_set import DataSet
from datatrial.errors import DataError
from datatrial.records import LocalFiles, PartOfStudy, Runtime
from datatrial.sources.json_file import JsonFile
from datatrial.tables import Table


def written(path: Path, *rows: Mapping[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made(data: DataSet, file: Path, out: Path, runtime: Runtime | None = None) -> Table:
    out.mkdir()
    data.run({"path": file}, out, runtime or Runtime())
    return Table.read(out)


def test_the_source_is_read_and_curated_in_order(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", *({"text": f"text {n}", "n": n} for n in range(10)))
    data = DataSet(source=JsonFile(path=file), curation=(Sample(n=5), Sample(n=2, seed=1)))
    table = made(data, file, tmp_path / "out")
    assert table.rows.height == table.card.rows == 2
    assert [drop.rows for drop in table.card.drops] == [5, 3]


def test_its_card_has_the_mean_lengths_of_its_texts(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Plenty, as ever."}]
    for rows, characters, prompt in (
        (({"text": "four"}, {"text": "ninety"}), 5, None),
        (({"messages": [*turns, *turns]},), 2 * 25 + 3 * 2, 2 * 9 + 16 + 2 * 2),
    ):
        file = written(tmp_path / f"{characters}.jsonl", *rows)
        card = made(DataSet(source=JsonFile(path=file)), file, tmp_path / str(characters)).card
        assert (card.characters, card.prompt_characters) == (characters, prompt)


def test_lengths_of_more_than_four_gigabytes_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Table, "values", lambda *_: pl.Series([2**32 - 1] * 2, dtype=pl.UInt32))
    file = written(tmp_path / "rows.jsonl", {"text": "a"}, {"text": "b"})
    assert made(DataSet(source=JsonFile(path=file)), file, tmp_path / "out").card.characters == 2**32 - 1


def test_progress_tells_of_each_op(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", {"text": "a"})
    told: list[tuple[float, float, str]] = []
    data = DataSet(source=JsonFile(path=file), curation=(Sample(n=1), Sample(n=1)))
    made(data, file, tmp_path / "out", Runtime(progress=lambda *progress: told.append(progress)))
    assert told == [(0, 2, "curation ops"), (1, 2, "curation ops")]


def test_no_rows_left_is_an_error_with_the_reasons_and_no_result(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "Because."}
    file = written(tmp_path / "rows.jsonl", row, row, {**row, "chosen": ""})
    with pytest.raises(DataError, match=r"no rows are left of a .jsonl file") as caught:
        made(DataSet(source=JsonFile(path=file)), file, tmp_path / "out")
    assert "2 rows: the chosen answer equals the rejected one" in str(caught.value)
    assert "1 rows: an empty answer" in str(caught.value)
    assert not list((tmp_path / "out").iterdir())


def test_what_it_needs_is_what_its_source_needs(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    assert DataSet(source=JsonFile(path=file)).needs() == {"path": LocalFiles(file)}


def test_curation_is_part_of_the_identity_and_the_files_place_is_not(tmp_path: Path) -> None:
    here, there = JsonFile(path=tmp_path / "a.jsonl"), JsonFile(path=tmp_path / "b.jsonl")
    assert DataSet(source=here).identity() == DataSet(source=there).identity()
    assert DataSet(source=here).identity() != DataSet(source=here, curation=(Sample(n=1),)).identity()
    assert DataSet(source=here, curation=(Sample(n=1),)).identity() == (
        DataSet(source=here, curation=(Sample(n=1, seed=0),)).identity()
    )


def test_each_op_gets_its_own_inputs(tmp_path: Path) -> None:
    seen = []

    class Reading(Sample):
        def apply(self, table: Table, inputs: Mapping[str, Path], runtime: Runtime) -> Table:
            seen.append(dict(inputs))
            return table

        def reads(self) -> Mapping[str, PartOfStudy]:
            return {"model": PartOfStudy("model")}

    file = written(tmp_path / "rows.jsonl", {"text": "a"})
    data = DataSet(source=JsonFile(path=file), curation=(Sample(n=1), Reading(n=1), Reading(n=2)))
    assert data.reads() == {"1:model": PartOfStudy("model"), "2:model": PartOfStudy("model")}
    (tmp_path / "out").mkdir()
    inputs = {"path": file, "1:model": tmp_path / "one", "2:model": tmp_path / "two"}
    data.run(inputs, tmp_path / "out", Runtime())
    assert seen == [{"model": tmp_path / "one"}, {"model": tmp_path / "two"}]


def test_rows_that_an_op_is_not_for_are_refused_before_it_begins(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", {"text": "a"})
    with pytest.raises(DataError, match="flip_labels is for comparisons; these rows are documents"):
        made(DataSet(source=JsonFile(path=file), curation=(FlipLabels(p=0.5),)), file, tmp_path / "out")
