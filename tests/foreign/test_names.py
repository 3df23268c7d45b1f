"""Which names a study may give, and what becomes of any text in a terminal and as the name of a file."""

import io
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from rich.live import Live
from rich.table import Table
from rich.text import Text

from datatrial.cli._console import SafeConsole
from datatrial.errors import DataError
from datatrial.evaluation.lm_eval import LmEval
from datatrial.export._finished import Finished
from datatrial.foreign.names import LONGEST, LONGEST_OF_FILE, file_names, visible
from datatrial.report.figures import save, scatter, scatter_figure
from datatrial.study import Name

BAD_NAMES = {
    "../x": "should begin with one of",
    "a/b": "letters, digits and . _ + -",
    ".hidden": "should begin with one of",
    "-rf": "should begin with one of",
    "a b": "letters, digits",
    "a\n": "control characters, as \\n is",
    "a\0b": "control characters, as \\x00 is",
    "a\x1b[31m": "\\x1b is",
    "a\u202eb": "\\u202e is",
    "a\u200bb": "\\u200b is",
    "a\u200db": "\\u200d is",
    "a\ufeff": "\\ufeff is",
    "cafe\u0301": "Unicode's form NFC",
    "a／b": "letters, digits",
    "ａ": "should begin",
    "aａ": "letters, digits",  # full width: it looks like another a
    "a😀": "letters, digits",
    "x" * 300: f"at most {LONGEST} characters, not 300",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_hides_or_leads_elsewhere_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(Name).validate_python(name)
    [problem] = error.value.errors()
    assert BAD_NAMES[name] in problem["msg"]
    assert problem["msg"].isprintable()


@pytest.mark.parametrize("name", ["lima+hh", "a", "1.5b", "café", "a漢字", "x" * LONGEST, "con", "a.."])
def test_plain_names_of_any_script_are_taken(name: str) -> None:
    assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize("title", ["a\x1b[2J", "a\u202eb", "a\nb", " a", "a/b", "y" * (LONGEST + 1), "e\u0301"])
def test_a_benchmark_cannot_be_called_so(title: str) -> None:
    with pytest.raises(ValidationError):
        LmEval(task="piqa", name=title)
    assert LmEval(task="piqa", name="PIQA (few-shot, 漢字)").title == "PIQA (few-shot, 漢字)"


TEXTS = st.text(st.sampled_from("aA./\\ \0\n-_é\u0301\u202e漢😀") | st.characters(), max_size=300)


@given(st.lists(TEXTS, max_size=6))
def test_files_are_named_apart_and_stay_in_their_folder(texts: list[str]) -> None:
    for kept in ("", " ()="):
        names = file_names(texts, kept=kept)
        assert len(names) == len(texts)
        assert len({unicodedata.normalize("NFKC", name).casefold() for name in names}) == len(names)
        for name in names:
            assert name == Path(name).name
            assert name not in ("", ".", "..")
            assert name[0] not in "-. "
            assert name[-1] not in ". "
            assert len(name.encode()) <= LONGEST_OF_FILE
            assert visible(name) == name


def test_what_is_alike_once_cleaned_is_numbered() -> None:
    assert file_names(["a/b", "a-b", "A B", "..", "a" * 200, "a" * 300]) == [
        "a-b",
        "a-b-2",
        "A-B-3",
        "unnamed",
        "a" * LONGEST_OF_FILE,
        "a" * (LONGEST_OF_FILE - 2) + "-2",
    ]


def test_an_arm_called_like_a_seed_of_another_has_a_folder_of_its_own() -> None:
    runs = [SimpleNamespace(arm=arm, seed=seed) for arm, seed in (("a", 1), ("a-seed-1", None), ("A", 1))]
    finished = Finished(SimpleNamespace(plan=SimpleNamespace(runs=runs)))  # type: ignore[arg-type]
    folders = [finished.folder(run) for run in runs]  # type: ignore[arg-type]
    assert folders == ["a-seed-1", "a-seed-1-2", "A-seed-1-3"]


HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202egnp\u200b \x9b2J\r"
SHOWN = "\\x1b[31mred\\x1b]0;title \\u202egnp\\u200b \\x9b2J"  # rich leaves bells out itself


def console(terminal: bool) -> tuple[SafeConsole, io.StringIO]:
    written = io.StringIO()
    return SafeConsole(file=written, width=200, force_terminal=terminal, color_system=None), written


@pytest.mark.parametrize("terminal", [True, False])
def test_no_text_can_steer_a_terminal(terminal: bool) -> None:
    shown, written = console(terminal)
    table = Table("a", title=Text(HOSTILE))
    table.add_row(Text(HOSTILE))
    shown.print(HOSTILE, Text(HOSTILE), markup=False)
    shown.print(table)
    with Live(Text(f"live {HOSTILE}"), console=shown, auto_refresh=False):
        shown.print(Text(HOSTILE), soft_wrap=True)
    text = written.getvalue()
    assert text.count(SHOWN) >= 5
    assert "\x1b[31m" not in text
    assert not set("\x07\u202e\u200b\x9b") & set(text)
    assert terminal or not set("\x1b\r") & set(text)  # a live display writes some itself


def test_other_writing_is_shown_as_it_is() -> None:
    text = "Ünïcode 漢字 עברית ▲ −1.5 1\u202f000 می\u200cخواهم\n\tfin"
    assert visible(text) == text
    shown, written = console(False)
    shown.print(Text(text.replace("\t", " ")), soft_wrap=True)
    assert text.replace("\t", " ") in written.getvalue()


def test_the_commands_print_through_it() -> None:
    from datatrial.cli import _app

    assert isinstance(_app.out, SafeConsole)
    assert isinstance(_app.err, SafeConsole)


def test_a_chart_of_groups_with_control_characters_is_whole_xml(tmp_path: Path) -> None:
    from xml.etree import ElementTree

    _, svg, _ = save(scatter_figure([1.0, 2.0], [0.1, 0.2], ["a\x1b[31m", "b\x00"]), tmp_path, "chart")
    assert "a\\x1b[31m" in "".join(ElementTree.fromstring(svg.read_text()).itertext())


def test_a_group_called_like_a_part_of_a_chart_is_but_a_name() -> None:
    chart = scatter((1.0, 2.0), (0.1, 0.2), ('viewBox="0 0 1 1"', "--></svg><script>1</script>"), "groups")
    assert chart.count("<svg") == chart.count("</svg>") == 1
    assert "<script" not in chart


def test_imported_benchmarks_are_named_as_those_of_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datatrial import importing

    logs = SimpleNamespace(benchmarks={"good": ("good",), "bad\x1b[2J": ("t",)})
    monkeypatch.setattr(importing.Logs, "read", lambda _: logs)
    with pytest.raises(DataError, match=r"called 'bad\\x1b\[2J': a name should have no invisible or control"):
        importing.prepare([f"one={tmp_path}", f"two={tmp_path}"], tmp_path / "store")
