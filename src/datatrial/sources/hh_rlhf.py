"""`kind: hh_rlhf`: HH-RLHF, which of two answers people preferred (Bai et al. 2022, arXiv 2204.05862)."""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from datatrial.records import Form, SourceFacts
from datatrial.sources._bounds import Row
from datatrial.sources._conversations import comparison, transcript
from datatrial.sources._repository import RowByRow, once_each

Subset = Literal["harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled"]
Split = Literal["train", "test"]
ROWS: Mapping[tuple[Subset, Split], int] = {  # in all 160,800 and 8,552
    ("harmless-base", "train"): 42537,
    ("harmless-base", "test"): 2312,
    ("helpful-base", "train"): 43835,
    ("helpful-base", "test"): 2354,
    ("helpful-online", "train"): 22007,
    ("helpful-online", "test"): 1137,
    ("helpful-rejection-sampled", "train"): 52421,
    ("helpful-rejection-sampled", "test"): 2749,
}
# What both transcripts share, and both last answers. Harmless: measured on 1,149 rows of its test file. Helpful:
# assumed from it and the sizes of the compressed files (13.2 MB of harmless-base, 16.2 MB of helpful-base).
CHARACTERS = {"harmless-base": 791.0}
HELPFUL = 940.0

ABOUT = (
    "160,800 training and 8,552 test comparisons in all (of them harmless-base 42,537 and 2,312; helpful-base 43,835 "
    "and 2,354). Crowdworkers talked with language models of up to 52 billion parameters, asking for help or trying "
    "to draw harm out of them, and at each turn picked the better (or less harmful) of two answers. Offensive in "
    "places."
)
CURATED = (
    "Little: no answer was edited and few rows were filtered; crowdworkers followed short instructions, and the "
    "authors report modest agreement between crowdworkers and themselves. A few rows in a thousand are malformed."
)
PAPER = (
    "Language models wrote the answers, people chose between them, and the two documents class it differently, each in "
    "more than one way. The paper's introduction puts it with the LLM-generated data, its abstract speaks of "
    "well-curated LLM-generated comparisons, its data section of 91,000 human preference records collected by "
    "crowdworkers with a 52-billion-parameter model, its conclusion of careful human curation. The slides speak of "
    "91,000 human preference records and of carefully generated comparisons, put its results under 'LLM Generated', "
    "and in the conclusion name it as a human-generated data set. The size fits harmless-base and helpful-base, train "
    "and test (42,537 + 43,835 + 2,312 + 2,354 = 91,038), about half of what is published. Careful curation is not "
    "what its own authors describe."
)


class HhRlhf(RowByRow):
    """HH-RLHF's transcripts as comparisons: the turns that both share, and the last answer of each.

    A row is left out and counted when its turns do not alternate, when a turn or an answer is empty, when its two
    transcripts differ before the last answer, or when both answers are the same. `subset` and `split` travel along.
    """

    version: ClassVar[int] = 3
    repository: ClassVar[str] = "Anthropic/hh-rlhf"
    checked: ClassVar[str] = "09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa"

    subsets: Annotated[tuple[Subset, ...], AfterValidator(once_each)] = Field(
        ("harmless-base", "helpful-base"), min_length=1
    )
    splits: Annotated[tuple[Split, ...], AfterValidator(once_each)] = Field(("train",), min_length=1)

    @property
    def form(self) -> Form:
        return "comparisons"

    @property
    def facts(self) -> SourceFacts:
        rows = {part: ROWS[part] for part in self._parts}
        characters = sum(CHARACTERS.get(subset, HELPFUL) * n for (subset, _), n in rows.items()) / sum(rows.values())
        return SourceFacts(
            licence="MIT",
            answers_by="LLM",
            labels_by="human",
            curated=CURATED,
            about=ABOUT,
            paper=PAPER,
            origin=self.repository,
            published_rows=sum(rows.values()),
            revision=self.checked,
            characters=characters,
        )

    @property
    def _parts(self) -> list[tuple[Subset, Split]]:
        return list(product(self.subsets, self.splits))

    @property
    def _files(self) -> Mapping[str, Mapping[str, str]]:
        return {f"{subset}/{split}.jsonl.gz": {"subset": subset, "split": split} for subset, split in self._parts}

    def _parse(self, row: Row, told: Mapping[str, str]) -> Mapping[str, Any]:
        cells = self._cells(row)
        chosen, rejected = (transcript(cells.text(name)) for name in ("chosen", "rejected"))
        return {**comparison(chosen, rejected), **told}
