from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from datatrial.errors import DataError
from datatrial.foreign import parquet
from datatrial.records import HubFiles
from datatrial.sources.open_orca import FILES, Answers, OpenOrca
from datatrial.tables import Table

Cell = str | None


def row(id: Cell, system: Cell, question: Cell, response: Cell) -> dict[str, Cell]:
    return {"id": id, "system_prompt": system, "question": question, "response": response}


ROWS = [row("flan.1", "Be brief.", "Where do moles live?", "In burrows."), row("niv.2", "", "And bats?", "In caves.")]


def write(folder: Path, rows: list[dict[str, Cell]], answers: Answers = "gpt4", **options: Any) -> Path:
    path = folder / FILES[answers]
    schema = dict.fromkeys(("id", "system_prompt", "question", "response"), pl.String)
    pl.DataFrame(rows, schema=schema).write_parquet(path, **options)
    return path


def read(folder: Path, *rows: dict[str, Cell]) -> Table:
    write(folder, list(rows))
    return OpenOrca().read({"repository": folder})


def failure(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        OpenOrca().read({"repository": folder})
    return str(caught.value)


def test_the_system_message_is_a_turn_where_there_is_one(tmp_path: Path) -> None:
    table = read(tmp_path, *ROWS, row("t0.3", None, "Why?", "So."), row("cot.4", " \n", "Why?", "So."))
    assert table.card.form == OpenOrca().form == "demonstrations"
    assert [[turn["role"] for turn in turns] for turns in table.rows["messages"].to_list()] == [
        ["system", "user", "assistant"],
        ["user", "assistant"],
        ["user", "assistant"],
        ["user", "assistant"],
    ]
    assert [turn["content"] for turn in table.rows["messages"][0]] == [
        "Be brief.",
        "Where do moles live?",
        "In burrows.",
    ]


def test_the_submix_is_the_beginning_of_the_id(tmp_path: Path) -> None:
    table = read(tmp_path, *ROWS, row("cot.4.5", "", "Why?", "So."), row(None, "", "Why?", "So."))
    assert table.rows["id"].to_list() == ["flan.1", "niv.2", "cot.4.5", None]
    assert table.rows["submix"].to_list() == ["flan", "niv", "cot", None]
    assert table.rows["answered_by"].to_list() == ["gpt4"] * 4


def test_rows_without_question_or_response_are_left_out_and_counted(tmp_path: Path) -> None:
    empty = [
        row("flan.5", "", "", "So."),
        row("flan.6", "", None, ""),
        row("flan.7", "", "Why?", "\n "),
        row("flan.8", "", "Why?", None),
    ]
    table = read(tmp_path, ROWS[0], *empty, ROWS[1])
    assert table.rows["id"].to_list() == ["flan.1", "niv.2"]
    assert table.height == 2
    assert {drop.reason: drop.rows for drop in table.card.drops} == {"an empty question": 2, "an empty answer": 2}
    assert '"flan.5"' in table.card.drops[0].sample[0]


@pytest.mark.parametrize("answers", ["gpt4", "gpt3_5"])
def test_only_the_chosen_file_is_asked_for_and_read(tmp_path: Path, answers: Answers) -> None:
    write(tmp_path, ROWS, answers)  # the other one is not there
    source = OpenOrca.model_validate({"answers": answers})
    [needs] = source.needs().values()
    assert needs == HubFiles("Open-Orca/OpenOrca", patterns=(FILES[answers],))
    assert source.read({"repository": tmp_path}).rows["answered_by"].to_list() == [answers] * 2


def test_both_files_can_be_read_one_after_the_other(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    write(tmp_path, [row("t0.9", "", "", "So."), *ROWS], "gpt3_5")
    table = OpenOrca(answers=("gpt3_5", "gpt4")).read({"repository": tmp_path})
    assert table.rows["answered_by"].to_list() == ["gpt3_5", "gpt3_5", "gpt4", "gpt4"]
    kept = table.keep(pl.Series([False, True, True, False]), "not these").rows
    assert kept.select("id", "answered_by").rows() == [("niv.2", "gpt3_5"), ("flan.1", "gpt4")]
    assert OpenOrca(answers=("gpt4", "gpt3_5")).facts.published_rows == 4_233_923


def many(n: int) -> list[dict[str, Cell]]:
    return [
        row(f"flan.{i}", "Be brief." * (i % 2), f"What is {i}?", "" if i % 7 == 3 else f"It is {i}.") for i in range(n)
    ]


@pytest.mark.parametrize("row_groups", [100_000, 1000])
def test_a_sample_has_the_rows_that_it_has_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_groups: int
) -> None:
    monkeypatch.setattr(parquet, "BATCH", 64)
    write(tmp_path, many(5000), row_group_size=row_groups)
    table = OpenOrca().read({"repository": tmp_path})
    whole = Table.of(OpenOrca().read({"repository": tmp_path}).rows, "demonstrations")
    assert table.height == whole.height == len([i for i in range(5000) if i % 7 != 3])
    mask = pl.Series(np.random.default_rng(0).random(table.height) < 0.1)
    assert table.keep(mask, "not drawn").rows.equals(whole.keep(mask, "not drawn").rows)
    brief = pl.col("messages").list.len() == 3
    assert table.keep(mask, "a").keep(brief, "b").rows.equals(whole.keep(mask, "a").keep(brief, "b").rows)
    assert (
        table.keep(pl.col("id").str.ends_with("0"), "c").height
        == whole.keep(pl.col("id").str.ends_with("0"), "c").height
    )


def test_the_texts_of_rows_that_are_not_in_the_sample_are_never_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datatrial.sources import _orca_rows

    built: list[int] = []
    messages = _orca_rows._messages
    monkeypatch.setattr(_orca_rows, "_messages", lambda rows: built.append(rows.height) or messages(rows))
    write(tmp_path, many(5000))
    table = OpenOrca().read({"repository": tmp_path})
    mask = pl.Series([number < 20 for number in range(table.height)])
    table.keep(mask, "not drawn").write(tmp_path)
    assert sum(built) <= 20 + 5  # and the few that show what was left out


def test_a_head_of_the_lazy_rows_is_the_head_of_the_rows(tmp_path: Path) -> None:
    write(tmp_path, many(100))
    table = OpenOrca().read({"repository": tmp_path})
    assert isinstance(table.frame, pl.LazyFrame)
    assert table.frame.head(5).select("id").collect()["id"].to_list() == table.rows["id"].head(5).to_list()
    assert table.frame.select("id").collect().height == table.height


def test_a_missing_column_says_what_was_found_and_what_to_pin(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["flan.1"], "system_prompt": [""], "prompt": ["a"], "response": ["b"]}).write_parquet(
        tmp_path / FILES["gpt4"]
    )
    message = failure(tmp_path)
    assert "no column 'question' (columns of this file: id, system_prompt, prompt, response)" in message
    assert "Open-Orca/OpenOrca has probably changed on the hub: set `revision: e9c87b4abb26" in message


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    pl.DataFrame({**{name: ["a"] for name in ("id", "system_prompt", "question")}, "response": [1]}).write_parquet(
        tmp_path / FILES["gpt4"]
    )
    assert "the column 'response' should be text, not Int64; Open-Orca/OpenOrca has probably changed" in failure(
        tmp_path
    )


def test_a_column_of_a_type_without_end_is_named_in_a_short_line(tmp_path: Path) -> None:
    pl.DataFrame(
        {**{name: ["a"] for name in ("id", "system_prompt", "question")}, "response": [{"9" * 9999: 1}]}
    ).write_parquet(tmp_path / FILES["gpt4"])
    assert "the column 'response' should be text, not Struct; Open-Orca/OpenOrca has" in failure(tmp_path)


def test_a_cut_and_a_corrupt_file_are_named_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, many(3000))
    whole = path.read_bytes()
    for content in (whole[:-100], whole[: len(whole) // 2], b"text", whole[:200] + bytes(2000) + whole[2200:]):
        path.write_bytes(content)
        message = failure(tmp_path)
        assert f"{path}: not a whole Parquet file (" in message
        assert message.endswith("; fetch or write it again")
        assert "\n" not in message


def test_a_mirror_without_the_file_is_named(tmp_path: Path) -> None:
    assert "Open-Orca/OpenOrca has no file 1M-GPT4-Augmented.parquet" in failure(tmp_path)


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"answers": "gpt5"}, "gpt4"), ({"answers": []}, "at least 1"), ({"answers": ["gpt4"] * 2}, "occurs twice")],
)
def test_wrong_settings_are_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        OpenOrca.model_validate(settings)
