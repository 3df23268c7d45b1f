import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from datatrial.errors import DataError
from datatrial.sources import _gathering
from datatrial.sources._base import Source
from datatrial.sources.json_file import JsonFile
from datatrial.tables import Table

USER = {"role": "user", "content": "Where do moles live?"}
GOOD = {"role": "assistant", "content": "In burrows."}
BAD = {"role": "assistant", "content": "In trees."}
SYSTEM = {"role": "system", "content": "Be brief."}
COMPARISON = {"messages": [USER], "chosen": "In burrows.", "rejected": "In trees."}


def read(folder: Path, *rows: Any, name: str = "rows.jsonl", **settings: Any) -> Table:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return JsonFile.model_validate({"path": path, **settings}).read({"path": path})


def failure(folder: Path, *rows: Any, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, *rows, **settings)
    return str(caught.value)


def drops(table: Table) -> dict[str, int]:
    return {drop.reason: drop.rows for drop in table.card.drops}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, GOOD]},
        {"prompt": USER["content"], "completion": GOOD["content"]},
        {"prompt": [USER], "completion": [GOOD]},
        {"prompt": [USER], "completion": GOOD["content"]},
        {"prompt": [USER, GOOD]},
        {"messages": [{**SYSTEM, "content": ""}, {**USER, "name": "x"}, GOOD]},
        {"prompt": "\n\nHuman: Where do moles live?\n\nAssistant:", "completion": " In burrows."},
        {"messages": [{"from": "human", "value": USER["content"]}, {"from": "gpt", "value": GOOD["content"]}]},
    ],
)
def test_each_way_of_writing_a_demonstration_is_understood(tmp_path: Path, row: dict[str, Any]) -> None:
    table = read(tmp_path, row)
    assert table.card.form == "demonstrations"
    messages = table.rows["messages"].to_list()[0]
    assert [{**turn, "content": turn["content"].strip()} for turn in messages] == [USER, GOOD]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": USER["content"], "chosen": "In burrows.", "rejected": "In trees."},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": USER["content"], "chosen": [USER, GOOD], "rejected": [USER, BAD], "messages": [USER, GOOD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        COMPARISON,
        {
            "chosen": "\n\nHuman: Where do moles live?\n\nAssistant: In burrows.",
            "rejected": "\n\nHuman: Where do moles live?\n\nAssistant: In trees.",
        },
    ],
)
def test_each_way_of_writing_a_comparison_is_understood(tmp_path: Path, row: dict[str, Any]) -> None:
    table = read(tmp_path, row)
    assert table.card.form == "comparisons"
    assert table.rows.to_dicts() == [COMPARISON]


def test_a_system_turn_before_the_prompt_is_kept(tmp_path: Path) -> None:
    row = {"prompt": USER["content"], "chosen": [SYSTEM, USER, GOOD], "rejected": [SYSTEM, USER, BAD]}
    assert read(tmp_path, row).rows["messages"].to_list() == [[SYSTEM, USER]]


def test_text_is_documents(tmp_path: Path) -> None:
    table = read(tmp_path, {"text": "Moles dig."}, {"text": " \n"})
    assert table.card.form == "documents"
    assert table.rows["text"].to_list() == ["Moles dig."]
    assert drops(table) == {"an empty text": 1}


@pytest.mark.parametrize("answer", [1, 1.0, "1", "B", "b", "burrows"])
def test_the_right_choice_may_be_an_index_a_letter_or_a_text(tmp_path: Path, answer: Any) -> None:
    table = read(tmp_path, {"question": "Where?", "choices": ["trees", "burrows", "reeds"], "answer": answer})
    assert table.rows.to_dicts() == [{"question": "Where?", "choices": ["trees", "burrows", "reeds"], "answer": 1}]


@pytest.mark.parametrize("answer", [3, -1, 0.5, "D", "hills", True, None, ""])
def test_an_answer_that_is_none_of_the_choices_is_named(tmp_path: Path, answer: Any) -> None:
    row = {"question": "Where?", "choices": ["trees", "burrows", "reeds"]}
    message = failure(tmp_path, {**row, "answer": 0}, {**row, "answer": answer})
    assert "rows.jsonl, line 2: the column 'answer' is none of the choices" in message


def test_an_answer_that_may_mean_two_choices_is_not_guessed(tmp_path: Path) -> None:
    assert "may be any of the choices [0, 1]" in failure(
        tmp_path, {"question": "2 − 1?", "choices": ["1", "2"], "answer": "1"}
    )
    assert "may be any of" in failure(tmp_path, {"question": "?", "choices": ["a", "a"], "answer": "a"})


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Borrum folk sing.", "harmful": False, "toxicity": 1, "groups": ["borrum"]},
        {"text": "Borrum folk sing.", "label": "neutral", "toxicity_score": 1.0, "target_groups": ["borrum"] * 2},
        {"text": "Borrum folk sing.", "label": 0, "toxicity": "1.0", "groups": "borrum"},
    ],
)
def test_statements_are_understood_under_safenlps_names_too(tmp_path: Path, row: dict[str, Any]) -> None:
    table = read(tmp_path, row)
    assert table.card.form == "statements"
    assert table.rows.to_dicts() == [
        {"text": "Borrum folk sing.", "harmful": False, "toxicity": 1.0, "groups": ["borrum"]}
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"harmful": "perhaps"}, "'harmful' should be true or false"),
        ({"harmful": 2}, "'harmful' should be true or false"),
        ({"toxicity": 0}, "'toxicity' should be from 1 to 5, not 0"),
        ({"toxicity": 5.1}, "'toxicity' should be from 1 to 5"),
        ({"toxicity": float("nan")}, "'toxicity' should be from 1 to 5"),
        ({"toxicity": "high"}, "'toxicity' should be a number"),
        ({"toxicity": True}, "'toxicity' should be a number"),
        ({"groups": [1]}, "'groups' should be a list of texts"),
        ({"groups": "['borrum']"}, "'groups' should hold a list as JSON"),
        ({"groups": None}, "'groups' should be a list, not empty"),
    ],
)
def test_a_wrong_value_in_a_statement_is_named(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    row = {"text": "Borrum folk sing.", "harmful": False, "toxicity": 1, "groups": ["borrum"]}
    message = failure(tmp_path, row, {**row, **change})
    assert "line 2: " in message
    assert why in message


def test_columns_map_ours_to_theirs(tmp_path: Path) -> None:
    row = {"instruction": USER["content"], "response": GOOD["content"], "id": 7}
    table = read(tmp_path, row, columns={"prompt": "instruction", "completion": "response"})
    assert table.rows.to_dicts() == [{"messages": [USER, GOOD], "id": 7}]


def test_a_mapping_to_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: `columns` maps completion to 'anser'.*did you mean 'answer'\?"):
        read(tmp_path, {"prompt": "Why?", "answer": "So."}, columns={"completion": "anser"})


def test_a_mapped_column_goes_before_one_of_our_name(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "completion": "wrong", "edited": "right", "messages": [USER, BAD]}
    table = read(tmp_path, row, columns={"completion": "edited"})
    assert table.rows["messages"].to_list()[0][-1]["content"] == "right"


def test_the_chosen_answers_of_comparisons_can_be_demonstrations(tmp_path: Path) -> None:
    row = {"prompt": USER["content"], "chosen": "In burrows.", "rejected": "In trees."}
    table = read(tmp_path, row, form="demonstrations", columns={"completion": "chosen"})
    assert table.rows["messages"].to_list() == [[USER, GOOD]]


def test_other_columns_travel_along(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "votes": 1, "tag": "x", "meta": {"k": 1}, "mixed": 1},
        {"text": "b", "votes": 2.5, "new": True, "meta": None, "mixed": "one", "huge": 2**70},
    ]
    table = read(tmp_path, *rows)
    assert table.rows.select("votes", "tag", "new", "meta", "mixed", "huge").to_dict(as_series=False) == {
        "votes": [1.0, 2.5],
        "tag": ["x", None],
        "new": [None, True],
        "meta": ['{"k": 1}', None],
        "mixed": ["1", "one"],
        "huge": [None, str(2**70)],
    }


def test_metadata_that_changes_its_type_late_in_a_long_file_is_kept(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "t", "n": n, "late": None} for n in range(5000)]
    table = read(tmp_path, *rows, {"text": "last", "n": "many", "late": 4}, {"text": "t"})
    assert table.rows["n"].to_list() == [str(n) for n in range(5000)] + ["many", None]
    assert table.rows["late"].to_list() == [None] * 5000 + [4, None]


def test_rows_keep_their_order_over_many_batches(tmp_path: Path) -> None:
    rows = [{"messages": [{**USER, "content": str(n)}, GOOD] * (1 + n % 3)} for n in range(9000)]
    table = read(tmp_path, *rows)
    assert table.rows["messages"].to_list() == [row["messages"] for row in rows]


def test_comparisons_that_cannot_be_learned_from_are_counted_by_reason(tmp_path: Path) -> None:
    other = {**USER, "content": "Where do otters live?"}
    rows = [
        {"prompt": [USER], "chosen": "In burrows.", "rejected": "In trees."},
        {"prompt": [USER], "chosen": "Same. ", "rejected": "Same."},
        {"prompt": [USER], "chosen": "", "rejected": "In trees."},
        {"prompt": [USER], "chosen": "In burrows.", "rejected": None},
        {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, GOOD, USER, BAD]},
        {"prompt": [other], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": [USER, USER], "chosen": "In burrows.", "rejected": "In trees."},
    ]
    table = read(tmp_path, *rows)
    assert table.rows.height == table.card.rows == 1
    assert drops(table) == {
        "the chosen answer equals the rejected one": 1,
        "an empty answer": 2,
        "the two conversations differ before their last answer": 1,
        "the conversation does not contain its prompt": 1,
        "the turns do not alternate between user and assistant": 1,
    }
    assert json.loads(table.card.drops[0].sample[0]) == rows[1]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([USER], "the last turn has no answer"),
        ([USER, GOOD, USER], "the last turn has no answer"),
        ([], "the last turn has no answer"),
        ([SYSTEM], "the last turn has no answer"),
        ([GOOD], "the turns do not alternate between user and assistant"),
        ([USER, SYSTEM, GOOD], "the turns do not alternate between user and assistant"),
        ([USER, {**GOOD, "content": " \n"}], "an empty answer"),
        ([{**USER, "content": ""}, GOOD], "an empty turn"),
    ],
)
def test_demonstrations_that_cannot_be_learned_from_are_counted(
    tmp_path: Path, messages: list[dict[str, str]], reason: str
) -> None:
    table = read(tmp_path, {"messages": [USER, GOOD]}, {"messages": messages})
    assert table.rows.height == 1
    assert drops(table) == {reason: 1}


def test_a_row_without_a_needed_column_is_named_with_its_line_and_the_fix(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    message = failure(tmp_path, row, row, {"prompt": "Why?", "better": "So.", "rejected": "No."})
    assert message.startswith(f"{tmp_path / 'rows.jsonl'}, line 3: no column 'chosen'")
    assert "columns of this row: prompt, better, rejected" in message
    assert "`columns: {chosen: its_name}`" in message


@pytest.mark.parametrize(
    ("row", "form", "missing"),
    [
        ({"text": "a"}, "demonstrations", "messages"),
        ({"prompt": "a"}, "demonstrations", "completion"),
        ({"completion": "a"}, "demonstrations", "prompt"),
        ({"chosen": "a", "rejected": "b"}, "comparisons", "prompt"),
        ({"question": "a"}, "documents", "text"),
        ({"question": "a", "choices": ["a", "b"]}, "questions", "answer"),
    ],
)
def test_what_is_missing_for_the_stated_form_is_named(
    tmp_path: Path, row: dict[str, Any], form: str, missing: str
) -> None:
    assert f"line 1: no column '{missing}'" in failure(tmp_path, row, form=form)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": 3, "completion": "b"}, "'prompt' should be text, not a int (3)"),
        ({"prompt": "a", "completion": 3.5}, "'completion' should be text, not a float (3.5)"),
        ({"messages": "hello"}, "'messages' should be a list, not a str ('hello')"),
        ({"messages": ["hello"]}, "messages[0] should be {role: …, content: …}"),
        ({"messages": [{"speaker": "human", "value": "a"}]}, "messages[0] should be {role: …, content: …}"),
        ({"messages": [USER, {"role": "tool", "content": "a"}]}, "messages[1]: unknown role 'tool'"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "messages[1].content should be text, not empty"),
        ({"text": None}, "'text' should be text, not empty (null)"),
        ({"question": "a", "choices": ["only"], "answer": 0}, "'choices' should list at least two"),
        ({"question": "a", "choices": {"text": ["a"]}, "answer": 0}, "'choices' should be a list"),
        ({"question": "a", "choices": ["b", "c"], "answer": "9" * 5000}, "'answer' is none of the choices"),
        ({"question": "a", "choices": "[" * 10_000, "answer": 0}, "'choices' should hold a list as JSON (nested more"),
        ({"messages": [{"from": ["human"], "value": "a"}]}, "messages[0]: unknown role ['human']"),
        ({"text": "a", "harmful": True, "toxicity": 10**400, "groups": ["b"]}, "'toxicity' should be a number"),
    ],
)
def test_a_value_of_a_wrong_type_is_named_with_its_line(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    message = failure(tmp_path, row)
    assert "rows.jsonl, line 1: " in message
    assert why in message


def test_columns_that_tell_of_no_form_are_named(tmp_path: Path) -> None:
    message = failure(tmp_path, {"conversations": [], "id": 1})
    assert "line 1: the columns (conversations, id) tell of no form" in message
    assert "state the `form`" in message


def test_csv_and_parquet_give_the_same_rows_as_jsonl(tmp_path: Path) -> None:
    rows = [
        {"question": f"Where, {n}?", "choices": json.dumps(["a tree", "a burrow"]), "answer": n % 2} for n in range(5)
    ]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["question", "choices", "answer"])
        writer.writeheader()
        writer.writerows(rows)
    pl.DataFrame([{**row, "choices": json.loads(str(row["choices"]))} for row in rows]).write_parquet(
        tmp_path / "rows.parquet"
    )
    expected = read(tmp_path, *rows).rows
    for name in ("rows.csv", "rows.parquet"):
        path = tmp_path / name
        assert JsonFile(path=path).read({"path": path}).rows.equals(expected)


def test_a_wrong_row_of_a_parquet_file_has_its_row_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"text": ["a", "b", None]}).write_parquet(path)
    with pytest.raises(DataError, match=r"rows.parquet, row 3: the column 'text' should be text"):
        JsonFile(path=path).read({"path": path})


def test_rows_written_as_a_data_set_can_be_read_again(tmp_path: Path) -> None:
    table = read(tmp_path, {**COMPARISON, "votes": 3})
    table.write(tmp_path)
    path = tmp_path / "rows.parquet"
    assert JsonFile(path=path).read({"path": path}).rows.equals(table.rows)


def test_the_form_is_known_before_reading_where_the_settings_tell_it(tmp_path: Path) -> None:
    def form(**settings: Any) -> str | None:
        return JsonFile.model_validate({"path": tmp_path / "a.jsonl", **settings}).form

    assert form() is None
    assert form(form="documents") == "documents"
    assert form(columns={"chosen": "better"}) == "comparisons"
    assert form(columns={"completion": "answer"}) == "demonstrations"
    assert form(columns={"prompt": "ask"}) is None
    assert form(columns={"text": "body"}) is None


def test_a_relative_path_is_beside_the_study(tmp_path: Path) -> None:
    value = {"kind": "json_file", "path": "data/rows.jsonl"}
    source = TypeAdapter(Source).validate_python(value, context={"folder": tmp_path})
    assert isinstance(source, JsonFile)
    assert source.path == tmp_path / "data" / "rows.jsonl"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"path": "rows.txt"}, "use .jsonl, .json, .csv"),
        ({"columns": {"choosen": "better"}}, "did you mean 'chosen'?"),
        ({"form": "comparison"}, "comparisons"),
        ({"colums": {}}, "did you mean 'columns'?"),
        ({"forms": "documents"}, "did you mean 'form'?"),
    ],
)
def test_wrong_settings_are_refused_without_reading(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match="1 validation error") as caught:
        JsonFile.model_validate({"path": "rows.jsonl", **settings})
    assert why in str(caught.value)


def test_settings_that_change_the_rows_are_part_of_the_identity(tmp_path: Path) -> None:
    def identity(**settings: Any) -> dict[str, Any]:
        return JsonFile.model_validate({"path": tmp_path / "a.jsonl", **settings}).identity()

    assert identity(columns={"text": "body"}) != identity()
    assert identity(form="documents") != identity()
    assert str(tmp_path) not in json.dumps(identity())


def test_planning_with_the_sources_imports_nothing_heavy() -> None:
    code = (
        "import sys; from datatrial.sources import hh_rlhf, hub, json_file, lima, open_orca, safenlp, shp; "
        "print([m for m in ('polars', 'numpy', 'pyarrow', 'torch', 'datasets') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, 2], ["true", "2"]),
        ([True, 0.5], ["true", "0.5"]),
        ([1, 2.5], [1.0, 2.5]),
        ([1, 2.5, "x"], ["1", "2.5", "x"]),
        ([1e22, "x"], ["1e+22", "x"]),
        ([2**70, 1], [str(2**70), "1"]),
        ([None, 3], [None, 3]),
        ([None, {"a": 1}], [None, '{"a": 1}']),
    ],
)
@pytest.mark.parametrize("batch", [1, 2, 100])
def test_a_columns_type_is_that_of_all_its_values_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[Any], expected: list[Any], batch: int
) -> None:
    monkeypatch.setattr(_gathering, "BATCH", batch)
    table = read(tmp_path, *({"text": "a", "more": value} for value in values))
    found = table.rows["more"].to_list()
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))
