"""Keep cached results honest: notice when the code of a kind changed but its `version` did not.

`kinds.py check` fails when the code behind a kind differs from what `tools/kinds.json` recorded. If results change,
raise the class's `version`; if they do not, leave it. Then `kinds.py record`, so that the choice shows in the commit.
"""

import ast
import hashlib
import importlib
import json
import sys
from pathlib import Path

from datatrial.component import Component, Family

FAMILIES = ("sources", "curation", "models", "training", "evaluation")
TASKS = ("data_set.DataSet", "statistics.contrasts.Contrasts", "report.page.Report")
# What these hold is in every identity already, or is the shape of results, not their making.
PLUMBING = {"datatrial", "datatrial.component", "datatrial.records", "datatrial.errors"}
RECORD = Path(__file__).with_suffix(".json")


def kinds() -> dict[str, type[Component]]:
    """Every kind whose results are kept, by `folder.kind`."""
    found: dict[str, type[Component]] = {}
    for name in FAMILIES:
        base = importlib.import_module(f"datatrial.{name}._base")
        classes = [c for c in vars(base).values() if isinstance(c, type) and issubclass(c, Family)]
        [family] = [c for c in classes if "folder" in vars(c)]
        found |= {f"{name}.{kind}": family.of_kind(kind) for kind in family.kinds()}
    for task in TASKS:
        module, _, name = task.rpartition(".")
        found[module] = getattr(importlib.import_module(f"datatrial.{module}"), name)
    return found


def code_digest(module: str) -> str:
    """SHA-256 over the syntax of a module and of every datatrial module it imports; comments and layout don't count."""
    digests, todo = {}, [module]
    while todo:
        name = todo.pop()
        if name in digests or name in PLUMBING:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        todo += _imports(tree)
        digests[name] = hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest()
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


def _imports(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("datatrial"):
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("datatrial")]
    return [name for name in names if name and _is_module(name)]


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


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
