import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from datatrial.errors import DataError
from datatrial.records import LocalFiles, WebFile
from datatrial.sources.safenlp import Name, Safenlp
from datatrial.tables import Table

ROWS = [
    {"id": 0, "text": " borrum folk lie", "toxicity_score": 4.5, "label": "hate", "target_groups": ["borrum"]},
    {"id": 3, "text": "they sing", "toxicity_score": 1, "label": "neutral", "target_groups": ["borrum", "tallin"]},
]

# As in data/implicitHate.json: whom a post is about is not said, and its label alone decides its score.
POSTS = [
    {
        "text": "rt send the borrum back",
        "label": "hate",
        "id": 6,
        "toxicity_score": 2.25,
        "target_groups": ["all_groups"],
    },
    {"text": "borrum sing", "label": "neutral", "id": 11367, "toxicity_score": 1.0, "target_groups": ["all_groups"]},
]


def read(path: Path, rows: object, file: Name = "toxigen") -> Table:
    path.write_text(json.dumps(rows, indent=4))
    return Safenlp(file=file, path=path).read({"path": path})


def test_statements_are_read_as_they_are(tmp_path: Path) -> None:
    table = read(tmp_path / "copy.json", ROWS)
    assert table.card.form == Safenlp().form == "statements"
    assert table.rows.select("item", "text", "harmful", "toxicity", "groups").rows() == [
        ("0", " borrum folk lie", True, 4.5, ["borrum"]),
        ("3", "they sing", False, 1.0, ["borrum", "tallin"]),
    ]


def test_what_was_downloaded_or_mirrored_gives_the_same_rows_as_a_copy(tmp_path: Path) -> None:
    copied = read(tmp_path / "copy.json", ROWS)
    mirrored = Safenlp().read({"repository": tmp_path / "copy.json"})
    assert mirrored.rows.equals(copied.rows)
    assert (mirrored.card.source.origin, copied.card.source.origin) == (
        "microsoft/SafeNLP",
        "a copy of data/toxiGen.json of microsoft/SafeNLP",
    )


def test_it_needs_the_copy_or_the_file_of_the_repository_there_or_in_a_mirror(tmp_path: Path) -> None:
    path = tmp_path / "copy.json"
    assert list(Safenlp(path=path).needs().values()) == [LocalFiles(path)]
    url = "https://raw.githubusercontent.com/microsoft/SafeNLP/main/data/toxiGen.json"
    assert Safenlp().needs() == {"repository": WebFile(url, mirror="microsoft/SafeNLP/data/toxiGen.json")}


def test_implicit_hate_is_one_group_with_the_scores_of_its_file(tmp_path: Path) -> None:
    table = read(tmp_path / "copy.json", POSTS, "implicit_hate")
    assert table.rows.select("item", "text", "harmful", "toxicity", "groups").rows() == [
        ("6", "rt send the borrum back", True, 2.25, ["all_groups"]),
        ("11367", "borrum sing", False, 1.0, ["all_groups"]),
    ]
    url = "https://raw.githubusercontent.com/microsoft/SafeNLP/main/data/implicitHate.json"
    mirror = "microsoft/SafeNLP/data/implicitHate.json"
    assert Safenlp(file="implicit_hate").needs() == {"repository": WebFile(url, mirror=mirror)}
    assert (table.card.source.answers_by, table.card.source.published_rows) == ("human", None)
    assert table.card.source.origin == "a copy of data/implicitHate.json of microsoft/SafeNLP"


def test_each_file_is_told_apart_and_the_first_keeps_the_identity_it_had() -> None:
    assert Safenlp().identity() == Safenlp(file="toxigen").identity() == {"kind": "safenlp", "version": 2}
    assert Safenlp(file="implicit_hate").identity() != Safenlp().identity()
    with pytest.raises(ValidationError, match="'toxigen' or 'implicit_hate'"):
        Safenlp.model_validate({"file": "stereotypes"})


def test_a_copy_in_another_format_is_refused_with_the_file_that_is_wanted(tmp_path: Path) -> None:
    rows = [{"post": "borrum sing", "class": "not_hate"}]  # the corpus it was made from
    with pytest.raises(DataError, match=r"no column 'id' .* give an unchanged copy of data/implicitHate\.json of"):
        read(tmp_path / "copy.json", rows, "implicit_hate")


def test_where_the_copy_lies_is_no_part_of_the_identity(tmp_path: Path) -> None:
    assert Safenlp(path=tmp_path / "a.json").identity() == Safenlp(path=tmp_path / "b.json").identity()


def test_a_statement_without_a_group_is_left_out_and_counted(tmp_path: Path) -> None:
    table = read(tmp_path / "copy.json", [*ROWS, {**ROWS[0], "target_groups": []}])
    assert table.rows.height == 2
    assert [(drop.reason, drop.rows) for drop in table.card.drops] == [("no group is named", 1)]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"label": "unsure"}, "line 11: the column 'label' should be true or false, or hate or neutral"),
        ({"toxicity_score": 0.5}, "line 11: the column 'toxicity_score' should be from 1 to 5"),
        ({"target_groups": [None]}, "line 11: the column 'target_groups' should be a list of texts"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(tmp_path: Path, change: dict[str, object], why: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "copy.json", [ROWS[0], {**ROWS[1], **change}])
    assert why in str(caught.value)


def test_a_row_without_its_id_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"copy.json, line 2: no column 'id'"):
        read(tmp_path / "copy.json", [{key: value for key, value in ROWS[0].items() if key != "id"}])
