"""`kind: lima`: LIMA, a thousand carefully chosen demonstrations (Zhou et al. 2023, arXiv 2305.11206)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatrial.records import Form, HubFiles, Message, Needs
from datatrial.sources._base import Source
from datatrial.sources._conversations import with_answer
from datatrial.sources._files import Row, repository_file
from datatrial.sources._forms import Cells

if TYPE_CHECKING:
    from datatrial.tables import Table

REPOSITORY = "GAIR/lima"
GATED = (
    "accept the conditions at https://huggingface.co/datasets/GAIR/lima with your account, and set HF_TOKEN to a token "
    "of that account (https://huggingface.co/settings/tokens)"
)
ABOUT = (
    "1,030 training conversations, 30 of them with several turns, meant to show that few careful demonstrations are "
    "enough. About 750 are well-received, diverse posts picked from Stack Exchange, wikiHow and Reddit; the authors "
    "wrote most of the others in one uniform style and took 50 from Super-Natural Instructions."
)


class Lima(Source):
    """LIMA's training conversations, of one or several turns; `source` (where a row is from) travels along.

    A conversation whose last turn is the user's is left out and counted.
    """

    @property
    def form(self) -> Form:
        return "demonstrations"

    def needs(self) -> Mapping[str, Needs]:
        # The repository's loading script is of no use: `datasets` refuses such scripts since its version 4.
        return {"repository": HubFiles(REPOSITORY, patterns=("train.jsonl",), gated=GATED)}

    def read(self, inputs: Mapping[str, Path]) -> "Table":
        from datatrial.sources._gathering import Gathering

        gathering = Gathering(self.form)
        gathering.read(repository_file(inputs["repository"], "train.jsonl", REPOSITORY), _parse)
        return gathering.table(
            licence="CC BY-NC-SA, or stricter where a row's source is",
            answers_by="human",
            about=ABOUT,
            origin=REPOSITORY,
        )


def _parse(row: Row) -> Mapping[str, Any]:
    cells = Cells(row, {})
    messages = [
        Message(role="assistant" if number % 2 else "user", content=text)
        for number, text in enumerate(cells.texts("conversations"))
    ]
    with_answer(messages)
    return {"messages": messages, "source": cells.text("source")}
