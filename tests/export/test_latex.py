"""Tables in LaTeX: what a cell says is what is printed, whatever it is made of."""

import shutil
import subprocess
from pathlib import Path

import pytest

from datatrial.export.latex import PACKAGES, escaped, latex
from datatrial.report.tables import TextTable

HOSTILE = "50% & $x_1$ #2 {a} ~ ^ \\input{secret} <b> | \"q\" `q` a--b ''c''\n\t\x07"
TABLE = TextTable(
    "Benchmarks & more",
    ("arm", "science (acc_norm)", HOSTILE),
    (
        ("careful", "61.0 (−2.5 [−16.6, 11.6]) ▼ ≈ chance", "[0.1, 0.2]"),
        ("[odd] " + HOSTILE, "+1.0 ▲ ±0.3 → 5", "*"),
        ("é ö ß", "–", "1 234"),
    ),
    "A note: 5% of “all”.",
)
needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")


def test_signs_become_what_latex_calls_them() -> None:
    assert escaped("−2.5 ± 1 ▲▼ ≈ → –") == (
        r"$-$2.5 $\pm$ 1 $\blacktriangle$$\blacktriangledown$ $\approx$ $\rightarrow$ --"
    )


def test_no_text_is_a_command_or_ends_a_cell() -> None:
    assert escaped(r"\input{x} 50% & a_b #1 $y$") == (r"\textbackslash{}input\{x\} 50\% \& a\_b \#1 \$y\$")
    assert escaped("a~b^c") == r"a\textasciitilde{}b\textasciicircum{}c"


def test_hyphens_and_quotes_do_not_run_together() -> None:
    assert escaped("a--b---c ''d''") == "a-{}-b-{}-{}-c '{}'d'{}'"


def test_a_table_has_rules_a_caption_and_as_many_cells_a_row_as_columns() -> None:
    lines = latex(TABLE, "tab:x").splitlines()
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"\caption{Benchmarks \& more}\label{tab:x}" in "".join(lines)
    rows = [line for line in lines if line.endswith(r" \\")]
    assert len(rows) == 4
    assert {line.replace(r"\&", "").count("&") for line in rows} == {2}
    assert not any(line.startswith("[") for line in rows)  # after \midrule that would be an option


def test_a_long_first_cell_is_written_once() -> None:
    claim = "Careful preferences make the model safer and more truthful at no cost"
    text = latex(TextTable("Claims", ("claim", "on"), ((claim, "a"), (claim, "b"), ("short", "c"))), "tab:c")
    assert text.count(claim) == 1
    assert "\n & b \\\\\n" in text


@needs_latex
def test_a_document_with_it_compiles(tmp_path: Path) -> None:
    packages = "".join(rf"\usepackage{{{name}}}" for name in PACKAGES)
    body = latex(TABLE, "tab:x")
    (tmp_path / "doc.tex").write_text(
        rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}", encoding="utf-8"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "doc.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert b"Overfull" not in done.stdout
