"""Names and texts of others: what a study may be called, what a terminal shows, and how files are named."""

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 100  # characters of a name
LONGEST_OF_FILE = 120  # bytes; file systems take 255, and something stands before and after it

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")  # of studies, data sets, arms: readable in paths and tables
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # categories of what has no shape, or moves others
_HARMLESS = "\n\t\u00ad\u200c\u200d"  # line breaks, soft hyphens, and what joins letters and emojis


def problem_with_name(name: str) -> str:
    """Why a study, a data set or an arm cannot have a name; empty where it can."""
    if problem := problem_with_title(name):
        return problem
    if not _NAME.fullmatch(name) or unicodedata.normalize("NFKC", name) != name:
        what = "should begin with one of A-Z, a-z and 0-9, and go on with letters, digits and . _ + -"
        return f"{what} (got {visible(name)!r})"
    return ""


def problem_with_title(title: str) -> str:
    """Why nothing can have a title, which may have spaces and signs; empty where it can."""
    if len(title) > LONGEST:
        return f"should have at most {LONGEST} characters, not {len(title):,}"
    if unseen := [character for character in title if unicodedata.category(character) in _UNSEEN]:
        return f"should have no invisible or control characters, as {_escaped(unseen[0])} is"
    if unicodedata.normalize("NFC", title) != title:
        return f"should have its accents as parts of its letters (Unicode's form NFC; got {title!r})"
    return "" if title == title.strip() else f"should neither begin nor end with a space (got {title!r})"


def leads_out(path: str) -> bool:
    """Whether a path that others chose, with `/` between its parts, leads out of the folder that it is for."""
    return path.startswith("/") or ".." in path.split("/")


def visible(text: str) -> str:
    """The text with escapes, such as `\\x1b`, for characters that could steer a terminal or hide and turn others."""
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def file_names(texts: Iterable[str], gap: str = "-", kept: str = "") -> list[str]:
    """A name of a file for each text: of letters, digits, . _ + - and what else is `kept`, short enough for any disk.

    No two are alike, also where neither letters' case nor Unicode's forms of them count.
    """
    found: list[str] = []
    taken: set[str] = set()
    for text in texts:
        plain = (
            re.sub(rf"[^\w.+{re.escape(kept)}-]+", gap, unicodedata.normalize("NFC", text)).strip("-. ") or "unnamed"
        )
        name, number = _cut(plain), 2
        while _alike(name) in taken:
            ending = f"-{number}"
            name, number = _cut(plain, len(ending)) + ending, number + 1
        taken.add(_alike(name))
        found.append(name)
    return found


def _shown(character: str) -> str:
    unseen = unicodedata.category(character) in _UNSEEN and character not in _HARMLESS
    return _escaped(character) if unseen else character


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _cut(name: str, spare: int = 0) -> str:
    return name.encode()[: LONGEST_OF_FILE - spare].decode(errors="ignore").rstrip("-. ")


def _alike(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
