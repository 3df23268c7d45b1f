from pathlib import Path

import pytest
import yaml

from datatrial.errors import DataError
from datatrial.foreign.bounded_yaml import bounded, settings_of

LAUGHS = "a0: &a0 [ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))


def test_what_a_library_can_read_is_left_as_it_is() -> None:
    text = "a: &a [1, {b: 2}]\nc: [*a, *a]\nd: !function mine.py\n"
    assert bounded(text) == text


@pytest.mark.parametrize("text", [LAUGHS, "a: &a [*a]", "[" * 50_000, "- " * 50_000, "{a: " * 50_000])
def test_what_would_kill_or_fill_a_library_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="nested more than 100 deep, or more than 1000000 values"):
        bounded(text)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("---\nlicense: mit\n---\n# Owls\n---\n", {"license": "mit"}),
        ("\ufeff\n---\r\na: 1\r\nb: 2\r\n--- \r\n", {"a": 1, "b": 2}),
        ("# Owls\n---\na: 1\n---\n", {}),
        ("---\n- 1\n---\n", {}),
        ("---\na: 1\n", {}),
        ("", {}),
    ],
)
def test_the_header_of_a_card_is_what_the_hub_takes_for_it(tmp_path: Path, text: str, settings: object) -> None:
    (tmp_path / "README.md").write_bytes(text.encode())
    assert settings_of(tmp_path / "README.md") == settings


def test_no_card_has_no_settings(tmp_path: Path) -> None:
    assert settings_of(tmp_path / "README.md") == {}


@pytest.mark.parametrize("yaml", [LAUGHS.encode(), b"[" * 50_000, b"a: [", b"a: \xff", b"a: \0"])
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_settings_that_are_not_to_be_read_are_named_in_one_line(tmp_path: Path, yaml: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(b"---\n" + yaml + b"\n---\n" if name == "README.md" else yaml)
    with pytest.raises(DataError, match=rf"cannot read the settings in .*{name}") as caught:
        settings_of(tmp_path / name)
    assert "\n" not in str(caught.value)
