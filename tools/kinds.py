"""Keep cached results honest: notice when the code of a kind changed but its `version` did not.

`kinds.py check` fails when the code behind a kind differs from what `tools/kinds.json` recorded. If results change,
raise the class's `version`; if they do not, leave it. Then `kinds.py record`, so that the choice shows in the commit.
"""

import ast
import hashlib
import importlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import datatrial
from datatrial.component import Component, Family

FAMILIES = ("sources", "curation", "audits", "models", "training", "evaluation")
TASKS = (
    "data_set.DataSet",
    "data_audit.DataAudit",
    "drift.Drift",
    "reference_log_probs.ReferenceLogProbs",
    "tuning.candidate.Candidate",
    "tuning.tuned.Tuned",
    "benchmark_texts.BenchmarkTexts",
    "models._tokenizer.Tokenizer",
    "statistics.contrasts.Contrasts",
    "imported.Imported",
    "report.page.Report",
)
# What these hold is in every identity already, or is the shape of results, not their making.
PLUMBING = {"datatrial", "datatrial.component", "datatrial.records", "datatrial.effects", "datatrial.errors"}
PLUMBING |= {"datatrial.foreign.names", "datatrial.redaction"}  # what is shown, and not made
# What a kind reads without importing it by name: sections are looked up in their folder, templates are no modules.
FOLDERS = {"datatrial.report.page": "datatrial/report"}
TEMPLATES = (".html", ".css", ".js")
# Packages whose modules read the data files beside them.
DATA = {"datatrial.reference": (".yaml", ".csv"), "datatrial.text": (".json",)}
ROOT = Path(datatrial.__file__).parents[1]
RECORD = Path(__file__).with_suffix(".json")


def kinds() -> dict[str, type[Component]]:
    """Every kind of ours whose results are kept, by `folder.kind`."""
    found: dict[str, type[Component]] = {}
    for name in FAMILIES:
        base = importlib.import_module(f"datatrial.{name}._base")
        classes = [c for c in vars(base).values() if isinstance(c, type) and issubclass(c, Family)]
        [family] = [c for c in classes if "folder" in vars(c)]
        of_family = {f"{name}.{kind}": family.of_kind(kind) for kind in family.kinds()}
        found |= {name: of_kind for name, of_kind in of_family.items() if of_kind.__module__.startswith("datatrial.")}
    for task in TASKS:
        module, _, name = task.rpartition(".")
        found[module] = getattr(importlib.import_module(f"datatrial.{module}"), name)
    return found


def code_digest(module: str, root: Path = ROOT) -> str:
    """SHA-256 over the syntax of a module and of every datatrial module it imports, and over the templates it fills.

    Comments, docstrings and layout of modules don't count; of a template everything does. `root` is the folder that
    the package `datatrial` is in.
    """
    digests = {}
    todo = [module]
    if folder := FOLDERS.get(module):
        todo += sorted(_modules_below(root / folder, root))
        templates = [path for path in (root / folder).rglob("*") if path.suffix in TEMPLATES]
        digests = {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in templates}
    while todo:
        name = todo.pop()
        path = _source(name, root)
        if name in digests or name in PLUMBING or path is None:
            continue
        for data in sorted(path.parent.iterdir()):
            if data.suffix in DATA.get(".".join(path.parent.relative_to(root).parts), ()):
                digests[str(data.relative_to(root))] = hashlib.sha256(data.read_bytes()).hexdigest()
        digests[name], imported = _digest_and_imports(path.read_text(encoding="utf-8"))
        todo += imported
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _digest_and_imports(source: str) -> tuple[str, list[str]]:
    tree = ast.parse(source)
    imported = _imports(tree)
    return hashlib.sha256(ast.unparse(_without_docstrings(tree)).encode()).hexdigest(), imported


def _source(module: str, root: Path) -> Path | None:
    """The file of a module; None for what is no module, such as a class that was imported by name."""
    path = root.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _modules_below(folder: Path, root: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        yield ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _imports(tree: ast.AST) -> list[str]:
    """The datatrial modules that are imported, and all that is imported from them: some of that is modules, too."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("datatrial"):
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("datatrial")]
    return names


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        match getattr(node, "body", None):
            case [ast.Expr(value=ast.Constant()), *rest]:
                node.body = rest  # type: ignore[attr-defined]
    return tree


def current() -> dict[str, dict[str, object]]:
    return {name: {"version": c.version, "code": code_digest(c.__module__)} for name, c in sorted(kinds().items())}


def main(command: str) -> int:
    now = current()
    if command == "record":
        RECORD.write_text(json.dumps(now, indent=1) + "\n")
        return 0
    recorded = json.loads(RECORD.read_text())
    changed = [name for name in now.keys() | recorded.keys() if now.get(name) != recorded.get(name)]
    for name in sorted(changed):
        print(f"{name}: its code or version is not the recorded one")
    if changed:
        print("Raise `version` in the class if its results change; then: python tools/kinds.py record")
    return bool(changed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "check"))
