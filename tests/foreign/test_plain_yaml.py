import pytest

from datatrial.errors import StudyError
from datatrial.foreign.plain_yaml import DEEPEST, loaded, written

LAUGHS = "a0: &a0 [ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2024-01-01", "2024-01-01"),
        ("!!str 3", "3"),
        ("=", "="),
        ("[1, 0x10, 1e-4, .inf, true, null, ~, '1']", [1, 16, 1e-4, float("inf"), True, None, None, "1"]),
        ("", None),
    ],
)
def test_values_are_those_of_yaml_1_2_and_a_date_is_text(written: str, value: object) -> None:
    assert loaded(written)[0] == value


def test_a_key_is_the_text_that_stands_there() -> None:
    values, lines = loaded("1: a\n1.50: b\nnull: c\ntrue: d\n2024-01-01: e\n")
    assert list(values) == ["1", "1.50", "null", "true", "2024-01-01"]
    assert lines["true",] == 4


def test_an_alias_stands_for_a_value_of_its_own() -> None:
    values, _ = loaded("a: &a {x: [1]}\nb: *a\n")
    assert values["a"] == values["b"] == {"x": [1]}
    assert values["a"]["x"] is not values["b"]["x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "holds more than 100000 values, counting an alias as what it stands for"),
        ("a: &a [*a]", "line 1: a.*counting aliases"),
        ("a: " + "[" * 30_000, "line 1: nested more than 50 deep"),
        ("\n".join(" " * n + "a:" for n in range(DEEPEST + 5)), "nested more than 50 deep"),
        (
            "\nk: !!python/object/apply:os.system [ls]",
            "line 2: k: the tag !!python/object/apply:os.system means",
        ),
        ("k: !mine x", "the tag !mine means nothing"),
        ("!mine k: x", "the tag !mine means nothing"),
        ("k: !!binary aGk=", "the tag !!binary means nothing"),
        ("k: !!set {x}", "the tag !!set means nothing"),
        ("k: !!map x", "the tag !!map means nothing"),
        ("a: &a {x: 1}\nb: {<<: *a}", "line 2: b: there are no merge keys"),
        ("? [a, b]\n: 1", "a key should be a text"),
        ("a: {1: x, '1': y}", "a: duplicate key '1'"),
        ('a: "\\0"', "a: a text with a NUL"),
        ("a: \0", "not valid YAML: unacceptable character #x0000"),
        ('a: "\\ud83d"', "a: a text with half a character"),
        ("a: " + "9" * 100_000, "line 1: a: '9999.*… is no !!int"),
        ("a: 0x" + "f" * 100_000, "a: a number of more than 64 bits"),
        ("a: !!bool perhaps", "a: 'perhaps' is no !!bool"),
        ("a: !!int ''", "a: '' is no !!int"),
        ("a: 1\n---\nb: 2", "another document"),
        ("%YAML 9.9\n---\na: 1", "incompatible"),
        ("%YAML 1.0\n---\na: 1", "not valid YAML: version"),
    ],
)
def test_what_no_study_can_mean_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        loaded(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_places_are_written_as_people_write_them() -> None:
    assert written(("arms", "lima", 0, "sft")) == "arms.lima[0].sft"
    assert written(("arms", "two\nlines")) == r"arms.'two\nlines'"
