"""Where every number comes from: the study, the software, the machine, the cost, each step's digest."""

from collections.abc import Iterable

from markupsafe import Markup

from datatrial.report._findings import Findings, Ran
from datatrial.report._html import render

TITLE = "Provenance"

TEMPLATE = """
<dl>
{% for label, values in facts if values %}<dt>{{ label }}</dt><dd>{{ values | join(", ") }}</dd>
{% endfor %}
</dl>
{% if externals %}<h3>Read from outside</h3><dl>{% for name, value in externals %}<dt>{{ name }}</dt><dd><code>{{ value }}</code></dd>{% endfor %}</dl>{% endif %}
{% if study %}<details><summary>The study</summary><pre>{{ study }}</pre></details>{% endif %}
<details><summary>Every step, with its digest and cost</summary>
<div class="scroll wide" tabindex="0" role="region" aria-label="Steps"><table>
<thead><tr><th scope="col">step</th><th scope="col">digest</th><th scope="col">device</th><th scope="col">seconds</th><th scope="col">peak memory</th></tr></thead>
<tbody>{% for step in steps %}
<tr><th scope="row">{{ step.what }}</th><td><code>{{ step.digest }}</code></td><td>{{ step.record.get("device", "–") }}</td><td class="num">{{ "%.1f" | format(step.seconds) }}</td><td class="num">{{ step.memory | count ~ " MiB" if step.memory else "–" }}</td></tr>
{% endfor %}</tbody></table></div></details>
<details><summary>How the intervals are made</summary><p class="small">Differences are paired: by item, over the items that both arms answered, and by seed. In each bootstrap draw items are drawn with replacement within their strata (the subjects of a benchmark; harmful and benign sentences) and seeds with replacement, the same for both arms; the interval runs from the 2.5th to the 97.5th percentile. A bootstrap over a few seeds is too narrow. Nothing is adjusted for the number of comparisons.</p></details>
"""


def body(findings: Findings) -> Markup:
    steps = findings.steps
    records = [step.record for step in steps]
    packages = {name: version for r in records for name, version in (r.get("packages") or {}).items()}
    memory = [step.memory for step in steps if step.memory]
    facts = [
        ("begun", _distinct([min((r["started"] for r in records if r.get("started")), default=None)])),
        ("device", _distinct(r.get("device") for r in records)),
        ("machine", _distinct(value for r in records for value in (r.get("machine"), r.get("platform")))),
        ("Python", _distinct(r.get("python") for r in records)),
        ("packages", [f"{name} {packages[name]}" for name in sorted(packages)]),
        ("peak memory", [f"{max(memory)} MiB, of one process"] if memory else []),
    ]
    return render(
        TEMPLATE, facts=facts, externals=_externals(steps), study=findings.settings.study.strip(), steps=steps
    )


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
