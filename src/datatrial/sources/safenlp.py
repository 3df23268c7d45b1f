"""`kind: safenlp`: SafeNLP's statements about demographic groups (Hosseini et al. 2023, arXiv 2301.09211)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from datatrial.component import LocalPath
from datatrial.records import Form, LocalFiles, Needs, SourceFacts, WebFile
from datatrial.sources._base import Source
from datatrial.sources._bounds import Row
from datatrial.sources._forms import Cells, statement

if TYPE_CHECKING:
    from datatrial.tables import Table

REPOSITORY = "microsoft/SafeNLP"
LICENCE = "MIT (code); Community Data License Agreement, Permissive 2.0 (data)"
Name = Literal["toxigen", "implicit_hate"]


@dataclass(frozen=True)
class _Published:
    """A file of the repository and what is known of it."""

    path: str
    about: str
    curated: str
    answers_by: str
    licence: str
    paper: str = ""
    rows: int | None = None
    characters: float | None = None


PUBLISHED: Mapping[Name, _Published] = {
    "toxigen": _Published(
        path="data/toxiGen.json",
        about=(
            "6,514 statements about 13 groups, 2,767 harmful and 3,747 benign; a statement may concern several groups. "
            "GPT-3 wrote them for ToxiGen and people rated their toxicity from 1 to 5. Offensive by design."
        ),
        curated=(
            "From ToxiGen's annotated statements, those on whose harmfulness all annotators agreed, and on whose group "
            "more than two did."
        ),
        answers_by="LLM",
        licence=LICENCE,
        paper=(
            "Paper and slides take their safety scores per demographic group from it. The paper's table has all 13 "
            "groups; the slides' lacks Native American."
        ),
        rows=6514,
        characters=98.0,  # measured on all rows
    ),
    "implicit_hate": _Published(
        path="data/implicitHate.json",
        about=(
            "Posts of the Implicit Hate corpus (ElSherief et al. 2021), as many harmful ones as benign. Whom a post is "
            "about is not said: all count for one group, `all_groups`. Nor is toxicity rated: it is 2.25 for harmful "
            "and 1 for benign posts. Offensive."
        ),
        curated="The posts labelled implicitly hateful, and a sample of as many of those labelled not hateful.",
        answers_by="human",
        licence=f"{LICENCE}; of the posts themselves none is stated",
    ),
}
URLS = {  # it is a repository of GitHub, not of the hub
    name: f"https://raw.githubusercontent.com/{REPOSITORY}/main/{file.path}" for name, file in PUBLISHED.items()
}


class Safenlp(Source):
    """The statements of one of SafeNLP's files, from GitHub, your own copy at `path`, or a `hub_root` that has it.

    The texts are kept as they are, oddities included, so that scores compare with SafeNLP's; `item` is a statement's
    id in the file.
    """

    version: ClassVar[int] = 2

    # Which file a copy is a copy of, too. Left out as it is: so it leaves earlier results their identity.
    file: Name = Field("toxigen", exclude_if=lambda name: name == "toxigen")
    path: LocalPath | None = Field(None, exclude=True)  # its content counts

    @property
    def form(self) -> Form:
        return "statements"

    @property
    def facts(self) -> SourceFacts:
        known = PUBLISHED[self.file]
        return SourceFacts(
            licence=known.licence,
            answers_by=known.answers_by,
            labels_by="human",
            curated=known.curated,
            about=known.about,
            paper=known.paper,
            origin=f"a copy of {known.path} of {REPOSITORY}" if self.path else REPOSITORY,
            published_rows=known.rows,
            characters=known.characters,
        )

    def needs(self) -> Mapping[str, Needs]:
        if self.path:
            return {"path": LocalFiles(self.path)}
        return {"repository": WebFile(URLS[self.file], mirror=f"{REPOSITORY}/{PUBLISHED[self.file].path}")}

    def read(self, inputs: Mapping[str, Path]) -> "Table":
        from datatrial.sources._gathering import Gathering

        path = inputs["path" if self.path else "repository"]
        gathering = Gathering(self.form)
        gathering.read(path, self._parse)
        return gathering.table(source=self.facts)

    def _parse(self, row: Row) -> Mapping[str, Any]:
        advice = f"give an unchanged copy of {PUBLISHED[self.file].path} of https://github.com/{REPOSITORY}"
        cells = Cells(row, {}, advice=advice)
        return {"item": str(cells["id"]), **statement(cells)}
