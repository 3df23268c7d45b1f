"""Where every number comes from: the study, the software, the machine, each step's digest; and how to get it again."""

from collections.abc import Iterable, Mapping

from markupsafe import Markup

from datatrial.report._findings import Findings, Ran
from datatrial.report._html import render

TITLE = "Provenance"
MOST_LINES = 1000  # of steps, and of what they read
REDRAWN = {
    "sample": "which rows are drawn",
    "order": "the order of the data",
    "init": "LoRA's initialization and dropout",
}


def body(findings: Findings) -> Markup:
    steps = findings.steps
    records = [step.record for step in steps]
    imported = not findings.settings.seeds_redraw  # a study's seeds redraw something; what scored imports is not known
    packages = {name: version for r in records for name, version in (r.get("packages") or {}).items()}
    facts = [
        ("first step begun", sorted(str(r["started"]).replace("T", " ") for r in records if r.get("started"))[:1]),
        ("another seed redraws", [REDRAWN[what] for what in findings.settings.seeds_redraw] if findings.seeds else []),
        ("device", _distinct(r.get("device") for r in records if not imported)),
        ("machine", _distinct(v for r in records if not imported for v in (r.get("machine"), r.get("platform")))),
        ("Python of the comparison" if imported else "Python", _distinct(r.get("python") for r in records)),
        (
            "packages of the comparison" if imported else "packages",
            [f"{name} {packages[name]}" for name in sorted(packages)],
        ),
    ]
    study = findings.settings.study.strip()
    return render(
        "provenance.html",
        assumptions=findings.settings.assumptions,
        facts=facts,
        externals=_externals(steps)[:MOST_LINES],
        install="" if imported else _install(packages),
        study=study,
        steps=steps[:MOST_LINES],
        more_steps=len(steps[MOST_LINES:]),
    )


def _install(packages: Mapping[str, str]) -> str:
    """The command for these versions; a study of imported results was not made with them."""
    return "pip install " + " ".join(f"{name}=={packages[name]}" for name in sorted(packages)) if packages else ""


def _distinct(values: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value))


def _externals(steps: Iterable[Ran]) -> list[tuple[str, str]]:
    """Files and hub repositories that steps read, each once, with what identifies it."""
    found: dict[tuple[str, str], None] = {}
    for step in steps:
        identified = (step.record.get("recipe") or {}).get("externals") or {}
        for name, what in (step.record.get("externals") or {}).items():
            found[str(what), str(identified.get(name, ""))] = None
    return list(found)
