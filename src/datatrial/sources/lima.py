"""`kind: lima`: LIMA, a thousand carefully chosen demonstrations (Zhou et al. 2023, arXiv 2305.11206)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from datatrial.records import Form, Message, SourceFacts
from datatrial.sources._bounds import Row
from datatrial.sources._conversations import demonstration
from datatrial.sources._repository import RowByRow

GATED = (
    "accept the conditions at https://huggingface.co/datasets/GAIR/lima with your account, and set HF_TOKEN to a token "
    "of that account (https://huggingface.co/settings/tokens)"
)
ABOUT = (
    "1,030 training conversations, 30 of them with several turns, meant to show that few careful demonstrations are "
    "enough: 400 posts of Stack Exchange, 200 of wikiHow, 150 of Reddit's r/WritingPrompts, 200 written by the "
    "authors, 50 from Super-Natural Instructions, and the 30 dialogues."
)
CURATED = (
    "By hand and for style: well-received posts spread over many subjects, filtered by length, first person and "
    "references to other answers; the authors' own prompts and answers in the one tone of a helpful assistant."
)
PAPER = (
    "Paper and slides: human-generated and well curated, 1,000 prompts with responses, and the example of what "
    "curation buys. The paper adds 750 from forums and 250 written by hand. This fits LIMA's own count of 1,000, where "
    "50 of the 250 come from Super-Natural Instructions; the published file has 30 conversations of several turns "
    "more, and neither document says whether those were trained on."
)


class Lima(RowByRow):
    """LIMA's training conversations, of one or several turns; `source` (where a row is from) travels along.

    A conversation whose last turn is the user's is left out and counted.
    """

    version: ClassVar[int] = 2
    repository: ClassVar[str] = "GAIR/lima"
    checked: ClassVar[str] = "68958e98267f5fb4a52a03ebcdae4ae59213fa7c"
    gated: ClassVar[str] = GATED

    @property
    def form(self) -> Form:
        return "demonstrations"

    @property
    def facts(self) -> SourceFacts:
        return SourceFacts(
            licence="CC BY-NC-SA, or stricter where a row's source is",
            answers_by="human",
            labels_by="",
            curated=CURATED,
            about=ABOUT,
            paper=PAPER,
            origin=self.repository,
            published_rows=1030,
            revision=self.checked,
            characters=2769.0,  # measured on 515 of the rows
        )

    @property
    def _files(self) -> Mapping[str, Mapping[str, str]]:
        # The repository's loading script is of no use: `datasets` refuses such scripts since its version 4.
        return {"train.jsonl": {}}

    def _parse(self, row: Row, told: Mapping[str, str]) -> Mapping[str, Any]:
        cells = self._cells(row)
        messages = [
            Message(role="assistant" if number % 2 else "user", content=text)
            for number, text in enumerate(cells.texts("conversations"))
        ]
        return {**demonstration(messages), "source": cells.text("source")}
