"""Files at a URL: downloaded once, known by their content from then on."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from datatrial.errors import DataError
from datatrial.files import file_digest
from datatrial.hub_errors import NO_CONNECTION, disk_trouble
from datatrial.records import WebFile
from datatrial.redaction import redacted


@dataclass(frozen=True)
class WebExternal:
    """A file at a URL; found in the cache, which `ask` and `fetch` fill, under the digest of its content."""

    file: WebFile
    content: str | None  # SHA-256; None while the lock has none
    lock: Path | None = field(default=None, compare=False)  # where the study's digests are kept

    @property
    def digest(self) -> str:
        """The same as of a mirror that has the file: what was made from either is one result."""
        return digest_of([(self.file.name, self.content)]) if self.content else f"{self.file.url}, not resolved yet"

    def __str__(self) -> str:
        return redacted(f"{self.file.url} (content {self.content[:12]})" if self.content else self.file.url)

    def ask(self) -> str:
        """Download the file into the cache; the SHA-256 of its content.

        Raises: DataError naming the URL and what to do, also when the content is not the one that the lock names.
        """
        folder = cache()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".part-", dir=folder) as part:
                came = Path(part, "file")
                _download(self.file.url, came)
                content = file_digest(came)
                if content != (self.content or content):
                    raise DataError(self._changed(content))
                self._place(content).parent.mkdir(exist_ok=True)
                came.replace(self._place(content))
        except DataError:
            raise
        except Exception as error:  # the client lets through whatever its network library raises
            raise DataError(self._message(error)) from error
        return content

    def fetch(self) -> None:
        """Download the file where it is not in the cache, or damaged there; raises what `ask` raises."""
        if not self.is_cached():
            self.ask()

    def is_cached(self) -> bool:
        """Whether the file is in the cache, with the content that the lock names: it is read to its end."""
        place = self._place(self.content or "")
        return place.is_file() and file_digest(place) == self.content

    def locate(self) -> Path:
        """The file in the cache; the network is never asked.

        Raises: DataError when it is not there, or has not the content that the lock names.
        """
        if not self.is_cached():
            raise DataError(self._not_cached())
        return self._place(str(self.content))

    def _place(self, content: str) -> Path:
        return cache() / content / Path(self.file.name).name

    def _message(self, error: Exception) -> str:
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        url = self.file.url
        if isinstance(error, OfflineModeIsEnabled):
            return self._not_cached()
        if isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            return f"cannot download {url}: its server answers {status}; {self._ways}, or try again later"
        reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
        if type(error).__name__ in NO_CONNECTION:
            fetch = "run `datatrial fetch` on the study where there is one"
            return f"no connection to {url} ({reason}): {fetch}, or {self._ways}"
        again = f"cannot read {url} ({reason}): check the connection and run again, or {self._ways}"
        return disk_trouble(error, cache()) or again

    def _not_cached(self) -> str:
        from huggingface_hub.constants import is_offline_mode

        why = ", and HF_HUB_OFFLINE forbids downloading it" if is_offline_mode() else ""
        lacking = f"{cache()} does not have {self.file.url} whole, with content {self.content}"
        if self.content is None:
            lacking = f"{self.lock or 'no lock'} has no digest for {self.file.url}"
        fetch = "run `datatrial fetch` on the study, on a machine with network and with this cache"
        return f"{lacking}{why}: {fetch}; it writes the lock, which belongs beside the study; or {self._ways}"

    def _changed(self, content: str) -> str:
        return (
            f"{self.file.url} has changed: its content is now {content}, and {self.lock} names {self.content}; to go "
            f"on with what it is now, delete the line {self.file.key!r} there; else {self._ways}"
        )

    @property
    def _ways(self) -> str:
        mirrored = f", or put one at {self.file.mirror} under hub_root (or DATATRIAL_HUB_ROOT)"
        return "name a copy that you have with `path:`" + (mirrored if self.file.mirror else "")


def _download(url: str, to: Path) -> None:
    from huggingface_hub.file_download import http_get
    from tqdm.auto import tqdm  # type: ignore[import-untyped]  # what the client shows its progress with

    # Not compressed: its length is told beforehand then, and a part never passes for the whole.
    with to.open("wb") as file:
        http_get(url, file, headers={"Accept-Encoding": "identity"}, tqdm_class=partial(tqdm, disable=True))


def digest_of(files: Iterable[tuple[str, str]]) -> str:
    """One digest of files, from the name of each and the digest of its content."""
    return sha256("".join(f"{name} {content}\n" for name, content in files).encode()).hexdigest()


def cache() -> Path:
    """Where downloaded files are kept: beside the hub's own cache, so that moving `HF_HOME` moves both."""
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "datatrial" / "web"
