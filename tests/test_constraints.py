"""Every package that an installation brings is pinned, and what is known against one of them is found out."""

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINNED = {
    canonicalize_name(line.partition("==")[0])
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line
}


def needed(asked: list[str], extras: frozenset[str] = frozenset(), seen: set[str] | None = None) -> Iterator[str]:
    """Each package that these requirements bring, by what is installed here."""
    seen = set() if seen is None else seen
    for requirement in map(Requirement, asked):
        marker, name = requirement.marker, canonicalize_name(requirement.name)
        wanted = not marker or any(marker.evaluate({"extra": extra}) for extra in extras or {""})
        if not wanted or (key := f"{name}[{','.join(sorted(requirement.extras))}]") in seen:
            continue
        seen.add(key)
        yield name
        try:
            below = requires(name) or []
        except PackageNotFoundError:  # not installed here, but named: it must be pinned all the same
            continue
        yield from needed(below, frozenset(requirement.extras) | {""}, seen)


def test_every_package_of_an_installation_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for of in project["optional-dependencies"].values() for line in of)]
    # What a build of torch for GPUs brings, it pins itself; pip is what installs.
    found = {name for name in needed(asked) if not re.match(r"nvidia-|triton$|cuda-|pip$", name)}
    assert len(found) > 100
    assert found - PINNED == set()


def test_each_pin_is_of_one_version() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert len(lines) == len(PINNED)


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_tool", ROOT / "tools" / "audit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLEAN = {"name": "lantern", "version": "1.0", "vulns": []}
HOLED = {"name": "sieve", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "nowhere", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("answers", "status", "said"),
    [
        ({"pypi": [CLEAN], "osv": [HOLED]}, 0, "1 packages audited by pypi: no known vulnerabilities"),
        ({"pypi": [CLEAN, HOLED]}, 1, "sieve 2.0: PYSEC-1; fixed in 2.1"),
        ({"pypi": [UNKNOWN], "osv": [CLEAN, HOLED, UNKNOWN]}, 1, "osv does not know them: nowhere"),
        ({"pypi": [], "osv": []}, 0, "NOT AUDITED: no service could be asked"),
        ({"pypi": [UNKNOWN], "osv": [UNKNOWN]}, 0, "pypi knows none of the 1 packages(.|\n)*NOT AUDITED"),
    ],
)
def test_a_known_vulnerability_fails_and_silence_is_never_a_clean_bill(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: dict[str, list[dict[str, Any]]],
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr(audit, "asked", answers.__getitem__)
    assert audit.main() == status
    assert re.search(said, capsys.readouterr().out)


@pytest.mark.parametrize(("printed", "found"), [('{"dependencies": [{"name": "a", "vulns": []}]}', 1), ("", 0)])
def test_a_service_that_does_not_answer_is_named(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    printed: str,
    found: int,
) -> None:
    done = audit.subprocess.CompletedProcess([], 1, printed, "Traceback\nConnectionError: no route to osv")
    monkeypatch.setattr(audit.subprocess, "run", lambda *of, **how: done)
    assert len(audit.asked("osv")) == found
    assert ("osv does not answer: ConnectionError: no route to osv" in capsys.readouterr().out) == (not found)
