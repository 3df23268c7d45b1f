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
    """A file or folder on this machine."""

    path: Path
    digest: str

    def locate(self) -> Path:
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
        return cls(path, read_json(path) if path and path.exists() else {})

    @staticmethod
    def key(needs: HubFiles) -> str:
        return f"{needs.type} {needs.repo}@{needs.revision}"

    def add(self, needs: HubFiles, commit: str) -> None:
        self.commits[self.key(needs)] = commit
        if self.path:
            self.path.write_text(json.dumps(self.commits, indent=2, sort_keys=True) + "\n")


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
            return LocalExternal(needs.path, self._content(needs.path, ("*",)))
        mirror = self.hub_root / needs.repo if self.hub_root else None
        if mirror and mirror.is_dir():
            return LocalExternal(mirror, self._content(mirror, needs.patterns))
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

    def _content(self, path: Path, patterns: tuple[str, ...]) -> str:
        if path.is_file():
            return self._file(path)
        if not path.is_dir():
            raise DataError(f"there is no {path}")
        files = [f for f in _files_below(path) if any(fnmatch(f, pattern) for pattern in patterns)]
        if not files:
            raise DataError(f"{path} holds none of the files looked for ({', '.join(patterns)})")
        lines = [f"{name} {self._file(path / name)}\n" for name in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _file(self, path: Path) -> str:
        stat = path.stat()
        if self.remembered is None or stat.st_size < REMEMBERED_SIZE:
            return file_digest(path)
        known: dict[str, list[int | str]] = read_json(self.remembered) if self.remembered.exists() else {}
        key, seen = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        if key not in known or known[key][:2] != seen:
            known[key] = [*seen, file_digest(path)]
            with suppress(OSError):  # only costs the time to read the file again
                self.remembered.parent.mkdir(parents=True, exist_ok=True)
                self.remembered.write_text(json.dumps(known))
        return str(known[key][2])


def _files_below(folder: Path) -> Iterator[str]:
    """Relative POSIX paths of the files in a folder, hidden ones left out, in a fixed order."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield relative.as_posix()


def default_hub_root() -> Path | None:
    """The directory that `DATATRIAL_HUB_ROOT` names, if any."""
    named = os.environ.get("DATATRIAL_HUB_ROOT")
    return Path(named).expanduser().absolute() if named else None
