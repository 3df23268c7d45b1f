"""Repositories of the Hugging Face hub: their commits, what they list, and their place in the local cache."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from datatrial.errors import DataError
from datatrial.foreign.names import leads_out
from datatrial.hub_errors import Wanted, explained, not_cached

Listen = Callable[[int], None]  # bytes that came since it was called last

_OPTIONAL = frozenset({"README.md"})  # cards help lm-eval find its data, and not every repository has one


@dataclass(frozen=True)
class HubExternal(Wanted):
    """A repository of the hub at a commit; found in the local cache, which `fetch` fills.

    Its files are stamped by the listing of that commit, which never changes and is kept in the cache too.
    """

    @property
    def digest(self) -> str:
        return self.commit or f"{self.needs.repo}@{self.needs.revision}, not resolved yet"

    @property
    def key(self) -> str:
        """The repository at the commit, whatever files of it are asked for."""
        return f"{self.what}@{self.digest}"

    def __str__(self) -> str:
        return f"{self.needs.repo}@{self.commit or self.needs.revision}"

    def ask(self) -> str:
        """The commit that the revision stands for now, as a full SHA.

        Raises: DataError naming the repository and what to do.
        """
        from huggingface_hub import HfApi

        needs = self.needs
        with explained(self):
            commit: str | None = HfApi().repo_info(needs.repo, repo_type=needs.type, revision=needs.revision).sha
        assert commit is not None
        return commit

    def check_access(self) -> None:
        """Ask whether files may be downloaded: of a gated repository anyone sees the listing.

        Raises: DataError when the hub refuses.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError

        with explained(self):
            try:
                HfApi().auth_check(self.needs.repo, repo_type=self.needs.type)
            except GatedRepoError:
                raise
            except Exception:  # what else may be wrong shows at the download; not every mirror of the hub answers this
                return

    def files(self) -> dict[str, int]:
        """The files asked for as the repository lists them at the commit, with their sizes in bytes.

        Raises: DataError when the hub cannot be asked for a listing not seen yet, or a file asked for is not in it.
        """
        with explained(self):
            listed = self._known_listing()
            if listed is None:
                listed = _listing(self.needs.repo, self.needs.type, self.digest)
        return self._asked_for(listed)

    def absent(self) -> dict[str, int]:
        """Those of `files` that the cache does not have, or not in their size."""
        return {name: size for name, size in self.files().items() if self._cached_size(name) != size}

    def fetch(self, listen: Listen | None = None) -> None:
        """Download into the cache what is not there yet, or not in the size that the repository lists.

        Without `listen` the hub's client shows its own progress.
        Raises: DataError naming the repository and what to do, when that fails.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.constants import is_offline_mode

        needs = self.needs
        if not is_offline_mode() and (absent := self.absent()):
            with explained(self):
                for damaged in filter(None, map(self._cached, absent)):
                    damaged.resolve().unlink()  # the client takes whatever is there for whole
                    damaged.unlink(missing_ok=True)
                snapshot_download(
                    needs.repo,
                    repo_type=needs.type,
                    revision=self.commit,
                    allow_patterns=list(needs.patterns),
                    tqdm_class=_counter(listen) if listen else None,
                )
        self.locate()

    def locate(self) -> Path:
        """The repository's folder in the cache; the network is never asked.

        Raises: DataError when something is missing there, or has not the size that the repository lists.
        """
        from huggingface_hub import snapshot_download

        needs = self.needs
        if self.commit is None:
            raise DataError(not_cached(self))
        with explained(self):
            folder = snapshot_download(
                needs.repo,
                repo_type=needs.type,
                revision=self.commit,
                allow_patterns=list(needs.patterns),
                local_files_only=True,
            )
            listed = self._known_listing()
        # A cache that an older client filled has no listing.
        for name, size in self._asked_for(listed).items() if listed is not None else []:
            if (found := self._cached_size(name)) != size:
                raise DataError(
                    f"{Path(folder) / name} is damaged: it has {found} bytes, and the {self.what} lists {size}; "
                    "`datatrial fetch` with network downloads it anew"
                )
        return Path(folder)

    def _known_listing(self) -> dict[str, int] | None:
        from huggingface_hub import get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError

        try:
            tree = get_cached_repo_tree(self.needs.repo, repo_type=self.needs.type, revision=self.commit)
        except CachedRepoTreeNotFoundError:
            return None
        return {file.path: file.size for file in tree}

    def _asked_for(self, listed: dict[str, int]) -> dict[str, int]:
        from huggingface_hub.utils import filter_repo_objects

        patterns = self.needs.patterns
        found = list(filter_repo_objects(listed, allow_patterns=list(patterns)))
        # A model's patterns name all the forms that weights come in; what it lacks is for `models.hub` to say.
        named = patterns if self.needs.type == "dataset" else ()
        names = [p for p in named if not set(p) & set("*?[") and p not in _OPTIONAL]
        if lacking := [name for name in names if name not in found] or ([] if found else list(patterns)):
            raise DataError(
                f"the {self.what} at commit {self.commit} has no {_some(lacking)}; it has {_some(sorted(listed))}: it "
                f"is laid out otherwise than expected. {self._other_commit()}"
            )
        if outside := [name for name in found if leads_out(name)]:
            raise DataError(f"the {self.what} at commit {self.commit} lists a file outside of itself: {outside[0]!r}")
        return {name: listed[name] for name in found}

    def _other_commit(self) -> str:
        lock = self.lock or "the study's lock"
        return f"Put an earlier commit of it (see {self.page}/commits/main) into {lock}, or read a mirror (hub_root)"

    def _cached(self, name: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.needs.repo, name, repo_type=self.needs.type, revision=self.commit)
        return Path(found) if isinstance(found, str) else None  # else not there, or known not to exist

    def _cached_size(self, name: str) -> int | None:
        file = self._cached(name)
        return file.stat().st_size if file else None


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    return (", ".join(names[:5]) or "no files") + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@lru_cache(maxsize=64)
def _listing(repo: str, type: str, commit: str) -> dict[str, int]:
    """Asked of the hub once: what a commit holds never changes, and a model's files may be many."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    tree = HfApi().list_repo_tree(repo, recursive=True, repo_type=type, revision=commit)
    return {file.path: file.size for file in tree if isinstance(file, RepoFile)}


def _counter(listen: Listen) -> type[Any]:
    """A progress bar that shows nothing and tells how many bytes it counted."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]  # what the hub's client shows its progress with

    most = 0

    class Counter(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any):
            self.counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> Any:
            nonlocal most
            updated = super().update(n)
            # The client counts the same bytes twice, as received and as written.
            if self.counts_bytes and self.n > most:
                listen(int(self.n) - most)
                most = int(self.n)
            return updated

        def display(self, *args: Any, **kwargs: Any) -> bool:
            return True

    return Counter
