"""Secrets, kept out of what is shown and written.

Known are the values of environment variables that are secret by their names, what stands in a URL for a user or a
signature, and tokens that are known by their form.
"""

import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

HIDDEN = "***"
SHORTEST = 8  # characters of a value that is taken for a secret: shorter ones are words

_SECRET = frozenset({"TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "KEY", "APIKEY"})  # in variables' names
_USER = r"(?<=://)[^/\s@'\"<>]+(?=@)"
_SIGNED = r"(?<=[?&])(?P<kept>[\w.-]*(?:sig|signature|token|secret|password|key|credential)=)[^&#\s'\"<>]+"
_SENT = r"(?P<header>authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic)\s+)[^\s'\"]+"
# Of the Hugging Face hub, of GitHub, OpenAI, Amazon and Slack.
_FORMS = (
    r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|sk-[\w-]{20,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[\w-]{10,})"
)
_KNOWN = re.compile(f"{_USER}|(?i:{_SIGNED}|{_SENT})|{_FORMS}")
_SETTING = re.compile(r"(?i)(^|_)(password|passwd|passphrase|secret|api_?key|access_?key|(hub|auth|access)_token)$")


def redacted(text: str) -> str:
    """The text with `***` in the place of each secret."""
    for value in _values():
        text = text.replace(value, HIDDEN)
    return _KNOWN.sub(lambda found: (found["kept"] or found["header"] or "") + HIDDEN, text)


def redact_file(path: Path) -> None:
    """Take the secrets out of a file, which is written to anew only where it holds one; if it can be."""
    if not path.is_file():
        return
    with suppress(OSError):  # a disk that is full
        found = path.read_bytes().decode(errors="surrogateescape")
        if (clean := redacted(found)) != found:
            with path.open("r+b") as file:  # in place: a disk that is full may still have no room for another
                file.write(clean.encode(errors="surrogateescape"))
                file.truncate()


def is_secret(name: str, value: str) -> bool:
    """Whether a setting of that name and value is a secret, or holds one."""
    return bool(value and _SETTING.search(name)) or redacted(value) != value


def _values() -> list[str]:
    """The values of secret variables, the longest first: one may be part of another."""
    found = {value for name in os.environ if _is_secret_variable(name) and len(value := os.environ[name]) >= SHORTEST}
    return sorted((value for value in found if not os.path.exists(value)), key=len, reverse=True)  # noqa: PTH110


@cache
def _is_secret_variable(name: str) -> bool:
    return not _SECRET.isdisjoint(name.upper().split("_"))
