"""A table of finished texts in LaTeX, every cell escaped."""

import re
import unicodedata

from datatrial.report.tables import TextTable

PACKAGES = ("booktabs", "array", "graphicx", "amssymb")
LONG = 40  # characters of a cell beyond which the lines of its column are wrapped
_PLAIN = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\symbol{34}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\ue000": "{}",
    # What a report writes that is no letter. A minus in maths has the width of a plus.
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "\u00a0": "~",
    "\u2009": r"\,",
    "\u202f": r"\,",
}
_ESCAPES = {ord(character): latex for character, latex in _PLAIN.items()}


def latex(table: TextTable, label: str) -> str:
    """The table as a `table` environment, to be read with `\\input`; a document needs `PACKAGES`.

    Letters of any script are left as they are: beyond Latin ones, LuaLaTeX or XeLaTeX and a font are needed.
    """
    widths = [max((len(row[at]) for row in table.rows), default=0) for at in range(len(table.columns))]
    lines = [
        f"% needs the packages {', '.join(PACKAGES)}",
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escaped(table.title)}}}\label{{{label}}}\par\smallskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",  # a wide table fits the page
        rf"\begin{{tabular}}{{@{{}}{''.join(_column(at, width) for at, width in enumerate(widths))}@{{}}}}",
        r"\toprule",
        _line(table.columns),
        r"\midrule",
        *(_line(cells) for cells in _without_repeats(table.rows, widths[0] > LONG)),
        r"\bottomrule",
        r"\end{tabular}}",
        *([rf"\par\smallskip\footnotesize {escaped(table.note)}"] if table.note else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """A text that LaTeX shows as it is: no command in it works, line breaks and control characters are spaces."""
    shown = "".join(" " if unicodedata.category(character) in ("Cc", "Cf") else character for character in text)
    # Hyphens that follow each other would become a dash, apostrophes a closing quotation mark.
    apart = re.sub(r"-(?=-)|'(?=')", "\\g<0>\ue000", shown.replace("\ue000", " "))
    return apart.translate(_ESCAPES)


def _column(at: int, width: int) -> str:
    if width > LONG:
        return r">{\raggedright\arraybackslash}p{0.5\linewidth}"
    return "r" if at else "l"


def _without_repeats(rows: tuple[tuple[str, ...], ...], wrapped: bool) -> list[tuple[str, ...]]:
    """The rows; of long first cells that are alike only the first is written."""
    above = ["", *(row[0] for row in rows)]
    return [("" if wrapped and row[0] == same else row[0], *row[1:]) for row, same in zip(rows, above, strict=False)]


def _line(cells: tuple[str, ...]) -> str:
    # A row must not begin with a bracket: `\\` and `\toprule` would take it for an option.
    shown = [f"{{}}{cell}" if cell.startswith(("[", "*")) else cell for cell in map(escaped, cells)]
    return " & ".join(shown) + r" \\"
