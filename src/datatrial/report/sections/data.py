"""What the arms were trained on: each data set's card, what was dropped from it, and one row."""

from markupsafe import Markup

from datatrial.report._findings import DataSummary, Findings
from datatrial.report._html import render
from datatrial.report.wording import count

TITLE = "Data"


def body(findings: Findings) -> Markup:
    sets = [(data, _facts(data)) for data in findings.data]
    return render("data.html", sets=sets) if sets else Markup()


def _facts(data: DataSummary) -> list[tuple[str, str]]:
    card = data.card
    facts = [
        ("rows", count(card.rows)),
        ("mean words", ", ".join(f"{what} {words:.1f}" for what, words in data.words.items())),
        ("origin", card.origin),
        ("licence", card.licence),
        ("answers by", card.answers_by if card.form in ("demonstrations", "comparisons") else ""),
        ("labels by", card.labels_by if card.form == "comparisons" else ""),
        *(("left out", f"{count(drop.rows)}: {drop.reason}") for drop in card.drops),
    ]
    return [(label, value) for label, value in facts if value]
