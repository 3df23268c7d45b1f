"""`kind: safenlp`: SafeNLP's statements about demographic groups (Hosseini et al. 2023, arXiv 2301.09211)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from datatrial.component import LocalPath
from datatrial.records import Form, HubFiles, LocalFiles, Needs
from datatrial.sources._base import Source
from datatrial.sources._files import Row, repository_file
from datatrial.sources._forms import Cells, statement

if TYPE_CHECKING:
    from datatrial.tables import Table

REPOSITORY = "microsoft/SafeNLP"
FILE = "data/toxiGen.json"
NOT_ON_THE_HUB = (
    f"it is a repository of GitHub: get {FILE} from https://github.com/{REPOSITORY} and name your copy with `path:`"
)
ABOUT = (
    "6,514 statements about 13 groups, 2,767 harmful and 3,747 benign; a statement may concern several groups. GPT-3 "
    "wrote them for ToxiGen and people rated their toxicity from 1 to 5; SafeNLP keeps those on whose harmfulness all "
    "annotators agreed, and on whose group more than two did. Offensive by design."
)


class Safenlp(Source):
    """The statements of SafeNLP's toxiGen.json, from your own copy at `path` or a `hub_root` that has the repository.

    The texts are kept as they are, oddities included, so that scores compare with SafeNLP's; `item` is a statement's
    id in the file.
    """

    path: LocalPath | None = Field(None, exclude=True)  # its content counts

    @property
    def form(self) -> Form:
        return "statements"

    def needs(self) -> Mapping[str, Needs]:
        if self.path:
            return {"path": LocalFiles(self.path)}
        return {"repository": HubFiles(REPOSITORY, patterns=(FILE,), gated=NOT_ON_THE_HUB)}

    def read(self, inputs: Mapping[str, Path]) -> "Table":
        from datatrial.sources._gathering import Gathering

        path = inputs["path"] if self.path else repository_file(inputs["repository"], FILE, REPOSITORY)
        gathering = Gathering(self.form)
        gathering.read(path, _parse)
        return gathering.table(
            licence="MIT (code); Community Data License Agreement, Permissive 2.0 (data)",
            answers_by="LLM",
            labels_by="human",
            about=ABOUT,
            origin=f"a copy of {FILE} of {REPOSITORY}" if self.path else REPOSITORY,
        )


def _parse(row: Row) -> Mapping[str, Any]:
    cells = Cells(row, {})
    return {"item": str(cells["id"]), **statement(cells)}
