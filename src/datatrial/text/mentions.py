"""Which groups of people a text mentions, and beside what harsh words: by a list of terms that anyone can read.

A term matches as a whole word in any case, also with an s at its end. What a list of terms cannot see: groups that are
meant and not named (pronouns, names, slurs), and what a sentence says of them. `groups.json` tells where the terms are
from.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from datatrial.component import Settings, did_you_mean
from datatrial.errors import DataError
from datatrial.records import read_json
from datatrial.text import LEXICON

if TYPE_CHECKING:
    import polars as pl

SENTENCE = r"[^.!?\n]+[.!?]*"
BETWEEN_WORDS = r"[\s‐-]+"  # white space and both hyphens
PLACEHOLDER = re.compile(r"\\\{(\w+)\\\}")


def _usable(term: str) -> str:
    if not term.strip():
        raise PydanticCustomError("term", "an empty term")
    if re.search(r"[.!?\n]", term):
        raise PydanticCustomError("term", "a term cannot hold . ! ? or a line's end: sentences end there")
    return term


Term = Annotated[str, AfterValidator(_usable)]


def _terms_alone(value: Any) -> Any:
    return {"terms": value} if isinstance(value, list | tuple) else value


class Terms(Settings):
    """What names a group, and phrases that hold such a term and do not mean people."""

    terms: tuple[Term, ...] = Field(min_length=1)
    exceptions: tuple[Term, ...] = Field((), alias="except")


class LexiconFile(Settings):
    """The JSON file; `words` are lists that a term refers to as `{name}`. A group may be just its list of terms."""

    about: str = ""
    sources: tuple[str, ...] = ()
    words: Mapping[str, tuple[Term, ...]] = Field(default_factory=dict)
    groups: Mapping[str, Annotated[Terms, BeforeValidator(_terms_alone)]] = Field(min_length=1)
    harsh: tuple[Term, ...] = ()  # by default, those of our own file


@dataclass(frozen=True)
class Lexicon:
    """Regular expressions that find what a lexicon file names."""

    groups: Mapping[str, str]
    exceptions: Mapping[str, str]  # of the groups that have some
    harsh: str

    @classmethod
    def read(cls, path: Path = LEXICON) -> "Lexicon":
        """The lexicon of a JSON file; without harsh words of its own it has ours.

        Raises: DataError naming the file and the place when it is no such file.
        """
        file = _parsed(path)
        harsh = file.harsh or _parsed(LEXICON).harsh
        try:
            return cls(
                {group: _pattern(terms.terms, file.words) for group, terms in file.groups.items()},
                {g: _pattern(terms.exceptions, file.words) for g, terms in file.groups.items() if terms.exceptions},
                _pattern(harsh, file.words),
            )
        except KeyError as error:
            known = did_you_mean(error.args[0], list(file.words))
            raise DataError(f"{path}: a term has {{{error.args[0]}}}, which is not under `words`; {known}") from None

    def only(self, groups: Sequence[str]) -> "Lexicon":
        """The same for some of the groups.

        Raises: DataError for a group that it does not have.
        """
        for group in groups:
            if group not in self.groups:
                raise DataError(f"the lexicon has no group {group!r}; {did_you_mean(group, list(self.groups))}")
        return Lexicon({group: self.groups[group] for group in groups}, self.exceptions, self.harsh)

    def mentions(self, texts: "pl.Series") -> "pl.DataFrame":
        """One row for each sentence and each group that it mentions.

        Columns: `text` (which of the texts, from 0), `group`, `mentions` (how often in the sentence), `harsh` (whether
        the sentence has a harsh word), `sentence`. A sentence ends at . ! ? or the end of a line.
        """
        import polars as pl

        numbered = pl.DataFrame({"sentence": texts}).with_row_index("text")
        return pl.concat([self._of_group(numbered, group) for group in self.groups])

    def mentioning(self, texts: "pl.Series") -> "dict[str, pl.Series]":
        """For each group, whether each text mentions it."""
        return {group: self._cleared(texts, group).str.contains(wanted) for group, wanted in self.groups.items()}

    def _of_group(self, texts: "pl.DataFrame", group: str) -> "pl.DataFrame":
        import polars as pl

        wanted = self.groups[group]
        has = pl.col("sentence").str.contains(wanted)
        sentences = texts.filter(has).with_columns(pl.col("sentence").str.extract_all(SENTENCE))
        sentences = sentences.explode("sentence").filter(has)
        text = sentences["sentence"]
        counted = sentences.select(
            "text",
            pl.lit(group).alias("group"),
            self._cleared(text, group).str.count_matches(wanted).alias("mentions"),
            text.str.contains(self.harsh).alias("harsh"),
            "sentence",
        )
        return counted.filter(pl.col("mentions") > 0)

    def _cleared(self, texts: "pl.Series", group: str) -> "pl.Series":
        """The texts without what looks like the group and is not."""
        exceptions = self.exceptions.get(group)
        return texts.str.replace_all(exceptions, " … ") if exceptions else texts


def problem_of(path: Path | None, groups: Sequence[str] = ()) -> str:
    """Why a file (by default our own) is no lexicon with these groups; empty if it is one."""
    try:
        Lexicon.read(path or LEXICON).only(groups)
    except DataError as error:
        return str(error)
    return ""


def _parsed(path: Path) -> LexiconFile:
    try:
        return LexiconFile.model_validate(read_json(path))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise DataError(f'{path}: {where}. A lexicon is {{"groups": {{"name of a group": ["term", …]}}}}') from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from None


def _pattern(terms: Iterable[str], words: Mapping[str, Iterable[str]]) -> str:
    """One regular expression (of Rust's crate, which polars uses) for any of the terms.

    Raises: KeyError for a `{name}` that is not among the words.
    """
    found = [PLACEHOLDER.sub(lambda name: f"(?:{'|'.join(map(_phrase, words[name[1]]))})", _phrase(t)) for t in terms]
    return rf"(?i)\b(?:{'|'.join(found)})s?\b"


def _phrase(term: str) -> str:
    return BETWEEN_WORDS.join(re.escape(part) for part in re.split(r"[\s‐-]+", term.strip()))
