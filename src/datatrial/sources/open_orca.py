"""`kind: open_orca`: OpenOrca, answers of GPT-4 and GPT-3.5 to FLAN's tasks (Open-Orca/OpenOrca, 2023)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from datatrial.records import Form, SourceFacts
from datatrial.sources._repository import RepositorySource, once_each

if TYPE_CHECKING:
    from datatrial.tables import Table

Answers = Literal["gpt4", "gpt3_5"]
FILES: Mapping[Answers, str] = {
    "gpt4": "1M-GPT4-Augmented.parquet",
    "gpt3_5": "3_5M-GPT3_5-Augmented.parquet",
}
ROWS: Mapping[Answers, int] = {"gpt4": 994_896, "gpt3_5": 3_239_027}  # 4,233,923 together

# Assumed: published random samples of it take 1,700 bytes a row (1.7 MB for 1,000 rows, 41.7 MB for 24,576).
CHARACTERS = 1700.0

ABOUT = (
    "Tasks of the FLAN collection, each put to GPT-4 (994,896 rows) or GPT-3.5 (3,239,027 rows), most under a system "
    "message that asks for some way of answering. A public attempt at the unpublished data of Orca (Mukherjee et al. "
    "2023, arXiv 2306.02707). A row's id begins with the collection's part: flan, t0, niv or cot."
)
CURATED = (
    "Sampled from FLAN in the proportions of the Orca paper; rows of one id were removed once, and the answers were "
    "not checked. Some are refusals or wrong."
)
PAPER = (
    "Paper and slides: LLM-generated, about 1M GPT-4 and 3.2M GPT-3.5 completions, chosen for scale and diversity; "
    "100,000 rows sampled for SFT, at random from the GPT-4 part by the paper (the slides do not say which part). The "
    "sizes fit both files. The seed of the sample is not given, and both documents also call the data Orca, which is "
    "another, unpublished set."
)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class OpenOrca(RepositorySource):
    """OpenOrca's rows as demonstrations: the system message (where there is one), the question, the response.

    `id`, `submix` (flan, t0, niv or cot) and `answered_by` (gpt4 or gpt3_5) travel along. Rows without a question or
    a response are left out and counted. Only the files of the chosen `answers` are asked for, and the rows stay in
    them until an op or the training asks for their texts.
    """

    repository: ClassVar[str] = "Open-Orca/OpenOrca"
    checked: ClassVar[str] = "e9c87b4abb2609913751f9b26553fdb9c061796c"

    answers: Annotated[tuple[Answers, ...], BeforeValidator(_listed), AfterValidator(once_each)] = Field(
        ("gpt4",), min_length=1
    )

    @property
    def form(self) -> Form:
        return "demonstrations"

    @property
    def facts(self) -> SourceFacts:
        return SourceFacts(
            licence="MIT",
            answers_by="LLM",
            labels_by="",
            curated=CURATED,
            about=ABOUT,
            paper=PAPER,
            origin=self.repository,
            published_rows=sum(ROWS[answers] for answers in self.answers),
            revision=self.checked,
            characters=CHARACTERS,
        )

    @property
    def _files(self) -> Mapping[str, Mapping[str, str]]:
        return {FILES[answers]: {} for answers in self.answers}

    def read(self, inputs: Mapping[str, Path]) -> "Table":
        from datatrial.sources._gathering import Drops
        from datatrial.sources._orca_rows import demonstrations, surveyed
        from datatrial.tables import Table

        drops = Drops()
        named = zip(self._paths(inputs), self.answers, strict=True)
        files = [surveyed(path, answers, drops, self._changed) for path, answers in named]
        table = Table.of(demonstrations(files), self.form, drops=drops.listed(), source=self.facts)
        return self._noted(table, inputs)
