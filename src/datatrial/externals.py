"""What a study reads that no step makes: local files, and hub repositories (or a directory that stands in for the hub).

A local file or folder is identified by its content, a hub repository by its commit. With `hub_root`, repositories are
read from `hub_root/org/name` and identified by the content that is there, so a partial mirror never passes for the
whole.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from datatrial.engine.store import file_digest
from datatrial.errors import DataError
from datatrial.records import HubFiles, LocalFiles, Needs, read_json

REMEMBERED_SIZE = 8 * 2**20  # bytes: the digest of a smaller file is taken anew each time


@dataclass(frozen=True)
class LocalExternal:
    """Files on this machine: one, or those of a folder that match patterns."""

    path: Path
    digest: str
    patterns: tuple[str, ...] = ("*",)
    stamp: str = ""  # sizes and times of change when the digest was taken

    def locate(self) -> Path:
        """The path.

        Raises: DataError when it has changed since its digest was taken, perhaps hours ago when the run began.
        """
        if self.stamp and _stamp(self.path, self.patterns) != self.stamp:
            raise DataError(f"{self.path} has changed since this run began: run again to use what it holds now")
        return self.path

    def __str__(self) -> str:
        return f"{self.path} (content {self.digest[:12]})"


@dataclass(frozen=True)
class HubExternal:
    """A repository of the Hugging Face hub at a commit; found in the local cache, which `fetch` fills."""

    needs: HubFiles
    commit: str | None  # a full SHA; None while the revision has not been resolved

    @property
    def digest(self) -> str:
        return self.commit or f"{self.needs.repo}@{self.needs.revision}, not resolved yet"

    def locate(self) -> Path:
        from huggingface_hub import snapshot_download

        needs = self.needs
        folder = snapshot_download(
            needs.repo, repo_type=needs.type, revision=self.commit, allow_patterns=list(needs.patterns)
        )
        return Path(folder)

    def fetch(self) -> None:
        """Download into the hub's cache what is not there yet.

        Raises: DataError naming the repository and what to do, when that fails.
        """
        with _explained(self.needs):
            self.locate()

    def __str__(self) -> str:
        return f"{self.needs.repo}@{self.commit or self.needs.revision}"


@contextmanager
def _explained(needs: HubFiles) -> Iterator[None]:
    """Turn the hub's errors into one that names the repository and what to do."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    repo = f"{needs.type} {needs.repo}"
    try:
        yield
    except GatedRepoError as error:
        how = needs.gated or f"accept its terms at https://huggingface.co/{needs.repo} and set HF_TOKEN"
        raise DataError(f"the hub refuses access to the {repo}: {how}") from error
    except RevisionNotFoundError as error:
        raise DataError(f"the {repo} has no revision {needs.revision!r} on the hub") from error
    except RepositoryNotFoundError as error:
        how = needs.gated or "check its name; a private one needs HF_TOKEN"
        raise DataError(f"the {repo} is not on the hub: {how}") from error
    except Exception as error:  # the hub's client lets through whatever its network library raises
        raise DataError(
            f"cannot read the {repo} from the hub ({type(error).__name__}): check the connection, or set hub_root "
            f"(or DATATRIAL_HUB_ROOT) to a directory that has it as {needs.repo}/"
            + (f"; {needs.gated}" if needs.gated else "")
        ) from error


@dataclass
class Lock:
    """`STUDY.lock`: the commit of every hub revision a study uses, once resolved."""

    path: Path | None
    commits: dict[str, str] = field(default_factory=dict)

    @classmethod
    def beside(cls, study: Path | None) -> "Lock":
        path = study.with_suffix(".lock") if study else None
        try:
            return cls(path, read_json(path) if path and path.exists() else {})
        except ValueError as error:
            raise DataError(f"{path} is not valid JSON ({error}): mend it, or delete it to resolve anew") from error

    @staticmethod
    def key(needs: HubFiles) -> str:
        return f"{needs.type} {needs.repo}@{needs.revision}"

    def add(self, needs: HubFiles, commit: str) -> None:
        self.commits[self.key(needs)] = commit
        if self.path:
            try:
                _replace(self.path, json.dumps(self.commits, indent=2, sort_keys=True) + "\n")
            except OSError as error:
                raise DataError(f"cannot write {self.path}, which keeps the hub's commits: {error.strerror}") from error


@dataclass
class Resolver:
    """Finds what steps need and says what identifies it."""

    lock: Lock
    hub_root: Path | None = None
    remembered: Path | None = None  # file of digests of large files, by path, size and time of change
    ask_hub: bool = False  # resolve revisions that are not locked yet

    def resolve(self, needs: Needs) -> LocalExternal | HubExternal:
        """The external for what is needed.

        Raises: DataError when a file is missing or the hub cannot be asked.
        """
        if isinstance(needs, LocalFiles):
            return self._local(needs.path, ("*",))
        mirror = self.hub_root / needs.repo if self.hub_root else None
        if mirror and mirror.is_dir():
            return self._local(mirror, needs.patterns)
        commit = self.lock.commits.get(Lock.key(needs))
        if commit is None and self.ask_hub:
            commit = self._ask(needs)
        return HubExternal(needs, commit)

    def _ask(self, needs: HubFiles) -> str:
        from huggingface_hub import HfApi

        with _explained(needs):
            commit: str | None = HfApi().repo_info(needs.repo, repo_type=needs.type, revision=needs.revision).sha
            assert commit is not None
        self.lock.add(needs, commit)
        return commit

    def _local(self, path: Path, patterns: tuple[str, ...]) -> LocalExternal:
        stamp = _stamp(path, patterns)  # first: what changes while it is read shows later
        if path.is_file():
            return LocalExternal(path, self._file(path), patterns, stamp)
        lines = [f"{name} {self._file(path / name)}\n" for name in _files_below(path, patterns)]
        return LocalExternal(path, hashlib.sha256("".join(lines).encode()).hexdigest(), patterns, stamp)

    def _file(self, path: Path) -> str:
        stat = path.stat()
        if self.remembered is None or stat.st_size < REMEMBERED_SIZE:
            return file_digest(path)
        known = _remembered(self.remembered)
        key, seen = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        if key not in known or known[key][:2] != seen:
            known[key] = [*seen, file_digest(path)]
            with suppress(OSError):  # only costs the time to read the file again
                self.remembered.parent.mkdir(parents=True, exist_ok=True)
                _replace(self.remembered, json.dumps(known))
        return str(known[key][2])


def _files_below(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    """Relative POSIX paths of a folder's files that match a pattern, hidden ones left out, in a fixed order.

    Raises: DataError when there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no {folder}")
    paths = [(path, path.relative_to(folder)) for path in sorted(folder.rglob("*"))]
    names = [p.as_posix() for path, p in paths if path.is_file() and not any(x.startswith(".") for x in p.parts)]
    if found := [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]:
        return found
    raise DataError(f"{folder} holds none of the files looked for ({', '.join(patterns)})")


def _stamp(path: Path, patterns: tuple[str, ...]) -> str:
    """Names, sizes and times of change in one digest: cheap, and different once anything was written."""
    files = [path] if path.is_file() else [path / name for name in _files_below(path, patterns)]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def _remembered(file: Path) -> dict[str, list[int | str]]:
    try:
        known: dict[str, list[int | str]] = read_json(file)
    except (OSError, ValueError):  # it only spares reading large files again
        return {}
    return known


def _replace(file: Path, text: str) -> None:
    """Write a file at once, so that no reader finds half of it."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(file)


def default_hub_root() -> Path | None:
    """The directory that `DATATRIAL_HUB_ROOT` names, if any."""
    named = os.environ.get("DATATRIAL_HUB_ROOT")
    return Path(named).expanduser().absolute() if named else None
