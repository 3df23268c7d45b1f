"""Bring everything that a study reads from hub and web onto this disk, and prove that nothing is missing there."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from rich.filesize import decimal

from datatrial.engine.remote import RemoteStore, store_at
from datatrial.engine.step import External
from datatrial.engine.store import Store
from datatrial.errors import DataError, Problem, StudyError
from datatrial.externals import LocalExternal, Lock
from datatrial.hub import HubExternal
from datatrial.hub_errors import HubUnreachableError, cache
from datatrial.offline_proof import Proof, Question
from datatrial.planner import DEFAULT_STORE, loaded, plan_of, resolver_of
from datatrial.records import read_json
from datatrial.steps import Plan
from datatrial.web import WebExternal

Listener = Callable[["Part", int], None]  # what is being downloaded, and how many bytes more of it have come


@dataclass(frozen=True)
class Part:
    """The files that a study reads of one repository, or the folder under `hub_root` for it; or the file at a URL."""

    repository: str
    commit: str  # of a folder or URL, the digest of its content
    files: dict[str, int]  # sizes in bytes
    absent: dict[str, int]  # those that the cache did not have, or not whole, when it was looked at
    externals: tuple[HubExternal, ...] = ()  # none for a folder or URL
    found: Literal["mirror", "cache", "download"] = "cache"  # the last: downloaded when it was looked up

    @property
    def source(self) -> Literal["mirror", "cache", "download"]:
        return "download" if self.absent else self.found

    @property
    def size(self) -> int:
        return sum(self.files.values())


@dataclass(frozen=True)
class Fetch:
    """What a study reads from the hub, looked up at its commits; what the cache lacks can be downloaded."""

    study: Path
    overrides: tuple[str, ...]
    store: Store
    parts: tuple[Part, ...]

    @property
    def absent(self) -> int:
        """Bytes to download."""
        return sum(sum(part.absent.values()) for part in self.parts)

    def download(self, listen: Listener) -> None:
        """Download what the cache lacks.

        Raises: DataError when the disk will not hold it, or naming the repository that cannot be read and the fix.
        """
        self._check_disk()
        for part in self.parts:
            for external in part.externals if part.absent else ():
                external.fetch(partial(listen, part))

    def prove(self) -> Proof:
        """Have a new process, with the network off, plan the study and find and read all that it needs.

        Raises: DataError when that process dies.
        """
        expected = {part.externals[0].key: part.files for part in self.parts if part.externals}
        store = self.store.url if isinstance(self.store, RemoteStore) else str(self.store)
        question = Question(str(self.study), list(self.overrides), store, expected)
        with tempfile.TemporaryDirectory() as folder:
            asked, answer = Path(folder, "question.json"), Path(folder, "answer.json")
            asked.write_text(json.dumps(asdict(question)))
            command = [sys.executable, "-m", "datatrial.offline_proof", str(asked), str(answer)]
            ended = subprocess.run(
                command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False
            )
            if not answer.exists():
                raise DataError(
                    f"the check with the network off died ({ended.returncode}): {ended.stderr.strip()[-2000:]}"
                )
            return Proof(**read_json(answer))

    def _check_disk(self) -> None:
        free = free_space()
        if self.absent > free:
            raise DataError(
                f"{decimal(self.absent)} are to be downloaded into {cache()}, where only {decimal(free)} are free: "
                "free some space, or set HF_HOME to a disk with more"
            )


def look_up(study: str | Path, store: str | Path = DEFAULT_STORE, overrides: Sequence[str] = ()) -> Fetch:
    """Resolve every hub revision of a study into its lock, and list what each repository holds of what it reads.

    A file at a URL is downloaded already here: it is its content that the lock names.

    Raises: StudyError with every problem of the study, and of every repository that cannot be read; DataError when the
    hub cannot be reached at all, or may not be asked for revisions that the lock lacks.
    """
    declared, kept = loaded(study, overrides), store_at(store)
    kept.open()
    resolver = resolver_of(declared, kept)
    problems: list[Problem] = []
    came = _resolve(_used(plan_of(declared, resolver)), resolver.lock, problems)
    parts = _list(_used(plan_of(declared, resolver)), came, problems)
    if problems:  # a repository that several steps read is refused several times
        raise StudyError(list({problem.message: problem for problem in reversed(problems)}.values())[::-1])
    return Fetch(Path(study), tuple(overrides), kept, parts)


def _resolve(used: Mapping[External, str], lock: Lock, problems: list[Problem]) -> set[str]:
    """Write into the lock what it lacks; the URLs of the files that were downloaded for it."""
    came: set[str] = set()
    for external, label in used.items():
        with _noted(label, problems):
            if isinstance(external, HubExternal) and not lock.of(external.needs):
                lock.add(external.needs, external.ask())
            elif isinstance(external, WebExternal) and not external.is_cached():
                content = external.ask()
                came.add(external.file.url)
                if external.content is None:
                    lock.add(external.file, content)
    return came


def _list(used: Mapping[External, str], came: Set[str], problems: list[Problem]) -> tuple[Part, ...]:
    parts: dict[str, Part] = {}
    for external, label in used.items():
        if isinstance(external, LocalExternal) and external.repo:
            part = Part(external.repo, external.digest, external.sizes(), {}, found="mirror")
            parts[f"mirror {external.repo}"] = _joined(parts.get(f"mirror {external.repo}"), part)
        elif isinstance(external, HubExternal) and external.commit:
            with _noted(label, problems):
                parts[external.key] = _joined(parts.get(external.key), _part(external))
        elif isinstance(external, WebExternal) and external.is_cached():
            url, file = external.file.url, external.locate()
            found: Literal["cache", "download"] = "download" if url in came else "cache"
            parts[url] = Part(url, str(external.content), {file.name: file.stat().st_size}, {}, found=found)
    return tuple(parts.values())


def _used(plan: Plan) -> dict[External, str]:
    """What the steps of a plan read that no step makes, each with the label of the first step that does."""
    used: dict[External, str] = {}
    for step in plan.steps:
        for external in step.externals.values():
            used.setdefault(external, step.label)
    return used


@contextmanager
def _noted(label: str, problems: list[Problem]) -> Iterator[None]:
    """Note what is wrong with a repository, and go on to the next one."""
    try:
        yield
    except HubUnreachableError:
        raise  # so it would be for all the others, each after its own wait
    except DataError as error:
        problems.append(Problem(label, str(error)))


def _part(external: HubExternal) -> Part:
    files, absent = external.files(), external.absent()
    if absent:
        external.check_access()
    return Part(external.needs.repo, str(external.commit), files, absent, (external,))


def _joined(known: Part | None, further: Part) -> Part:
    """Two parts of one repository as one: several sources may each ask for some of its files."""
    if known is None:
        return further
    files, absent = known.files | further.files, known.absent | further.absent
    return replace(known, files=files, absent=absent, externals=known.externals + further.externals)


def free_space() -> int:
    """Free bytes on the disk of the hub's cache."""
    folder = cache()
    return shutil.disk_usage(next(f for f in (folder, *folder.parents) if f.exists())).free
