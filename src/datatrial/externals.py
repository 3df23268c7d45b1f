"""What a study reads that no step makes: local files, files at a URL, and hub repositories (or a directory for them).

A local file or folder, or a file at a URL, is identified by its content, a hub repository by its commit. With
`hub_root`, repositories are read from `hub_root/org/name` and identified by the content that is there, so a partial
mirror never passes for the whole.
"""

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from datatrial.errors import DataError
from datatrial.files import file_digest, write_at_once
from datatrial.foreign.names import leads_out
from datatrial.hub import HubExternal
from datatrial.records import HubFiles, LocalFiles, Needs, WebFile, read_json
from datatrial.web import WebExternal, digest_of

REMEMBERED_SIZE = 8 * 2**20  # bytes: the digest of a smaller file is taken anew each time

_HEXADECIMAL = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True)
class LocalExternal:
    """Files on this machine: one, or those of a folder that match patterns."""

    path: Path
    digest: str
    patterns: tuple[str, ...] = ("*",)
    stamp: str = ""  # sizes and times of change when the digest was taken
    repo: str = ""  # the hub repository that the folder stands in for

    def locate(self) -> Path:
        """The path.

        Raises: DataError when it has changed since its digest was taken, perhaps hours ago when the run began.
        """
        if self.stamp and _stamp(self.path, self.patterns) != self.stamp:
            raise DataError(f"{self.path} has changed since this run began: run again to use what it holds now")
        return self.path

    def sizes(self) -> dict[str, int]:
        """The file, or those of the folder that count, with their sizes in bytes."""
        if self.path.is_file():
            return {self.path.name: self.path.stat().st_size}
        return {name: (self.path / name).stat().st_size for name in _files_below(self.path, self.patterns)}

    def __str__(self) -> str:
        return f"{self.path} (content {self.digest[:12]})"


@dataclass
class Lock:
    """`STUDY.lock`: the commit of every hub revision a study uses, and the content of every URL, once resolved."""

    path: Path | None
    commits: dict[str, str] = field(default_factory=dict)

    @classmethod
    def beside(cls, study: Path | None) -> "Lock":
        """The lock of a study file, empty when there is none yet.

        Raises: DataError when it is not a JSON mapping to full commits.
        """
        path = study.with_suffix(".lock") if study else None
        try:
            commits = read_json(path) if path and path.exists() else {}
        except ValueError as error:
            raise DataError(f"{path} is not valid JSON ({error}): mend it, or delete it to resolve anew") from error
        except OSError as error:
            raise DataError(f"cannot read {path}, which keeps the hub's commits: {error.strerror}") from error
        if not isinstance(commits, dict):
            raise DataError(f"{path} is no mapping of revisions to commits: mend it, or delete it to resolve anew")
        for key, commit in commits.items():
            what, digits = ("SHA-256", 64) if key.startswith("url ") else ("commit", 40)
            if not (isinstance(commit, str) and len(commit) == digits and _HEXADECIMAL.fullmatch(commit)):
                raise DataError(f"{path}: {key!r} should be a {what}, all {digits} digits of it, not {commit!r}")
        return cls(path, commits)

    @staticmethod
    def key(needs: HubFiles | WebFile) -> str:
        return needs.key if isinstance(needs, WebFile) else f"{needs.type} {needs.repo}@{needs.revision}"

    def of(self, needs: HubFiles | WebFile) -> str | None:
        """The commit of the revision that is asked for, or the digest of the file, once resolved."""
        return self.commits.get(self.key(needs))

    def add(self, needs: HubFiles | WebFile, commit: str) -> None:
        self.commits[self.key(needs)] = commit
        if self.path:
            try:
                write_at_once(self.path, json.dumps(self.commits, indent=2, sort_keys=True) + "\n")
            except OSError as error:
                raise DataError(f"cannot write {self.path}, which keeps the hub's commits: {error.strerror}") from error


@dataclass
class Resolver:
    """Finds what steps need and says what identifies it."""

    lock: Lock
    hub_root: Path | None = None
    remembered: Path | None = None  # file of digests of large files, by path, size and time of change
    ask_hub: bool = False  # resolve revisions that are not locked yet

    def resolve(self, needs: Needs) -> LocalExternal | HubExternal | WebExternal:
        """The external for what is needed.

        Raises: DataError when a file is missing, or the hub or the web cannot be asked.
        """
        if isinstance(needs, LocalFiles):
            return self._local(needs.path, ("*",))
        return self._web(needs) if isinstance(needs, WebFile) else self._hub(needs)

    def _hub(self, needs: HubFiles) -> LocalExternal | HubExternal:
        mirror = self._mirror(needs.repo)
        if mirror and mirror.is_dir():
            return replace(self._local(mirror, needs.patterns), repo=needs.repo)
        commit = self.lock.of(needs)
        external = HubExternal(needs, commit, self.lock.path, self.hub_root)
        if commit is None and self.ask_hub:
            external = replace(external, commit=external.ask())
            self.lock.add(needs, external.digest)
        return external

    def _mirror(self, name: str) -> Path | None:
        """The place under `hub_root` that would stand in for a repository of the hub, or a file of one.

        Raises: DataError for a name that would lead elsewhere.
        """
        if leads_out(name) or {"", "."} & set(name.split("/")):
            raise DataError(f"{name!r} is no repository of the hub: it should be org/name")
        return self.hub_root / name if self.hub_root else None

    def _web(self, needs: WebFile) -> LocalExternal | WebExternal:
        mirror = self._mirror(needs.mirror) if needs.mirror else None
        if mirror and mirror.is_file():
            found = self._local(mirror, ("*",))
            repo = needs.mirror.removesuffix(f"/{needs.name}")
            # As of a folder with this one file.
            return replace(found, digest=digest_of([(needs.name, found.digest)]), repo=repo)
        external = WebExternal(needs, self.lock.of(needs), self.lock.path)
        if external.content is None and self.ask_hub:
            external = replace(external, content=external.ask())
            self.lock.add(needs, str(external.content))
        return external

    def _local(self, path: Path, patterns: tuple[str, ...]) -> LocalExternal:
        stamp = _stamp(path, patterns)  # first: what changes while it is read shows later
        if path.is_file():
            return LocalExternal(path, self._file(path), patterns, stamp)
        digest = digest_of((name, self._file(path / name)) for name in _files_below(path, patterns))
        return LocalExternal(path, digest, patterns, stamp)

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
                write_at_once(self.remembered, json.dumps(known))
        return str(known[key][2])


def _files_below(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    """Relative POSIX paths of a folder's files that match a pattern, hidden ones left out, in a fixed order.

    Raises: DataError when there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is neither a file nor a folder" if folder.exists() else f"there is no {folder}")
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
        known = read_json(file)
    except (OSError, ValueError):  # it only spares reading large files again
        known = {}
    found = known.items() if isinstance(known, dict) else ()
    return {path: seen for path, seen in found if isinstance(seen, list) and len(seen) == 3}


def default_hub_root() -> Path | None:
    """The directory that `DATATRIAL_HUB_ROOT` names, if any."""
    named = os.environ.get("DATATRIAL_HUB_ROOT")
    return Path(named).expanduser().absolute() if named else None
