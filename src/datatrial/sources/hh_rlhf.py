"""`kind: hh_rlhf`: HH-RLHF, which of two answers people preferred (Bai et al. 2022, arXiv 2204.05862)."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from datatrial.records import Form, HubFiles, Needs
from datatrial.sources._base import Source
from datatrial.sources._conversations import comparison, transcript
from datatrial.sources._files import Row, repository_file
from datatrial.sources._forms import Cells

if TYPE_CHECKING:
    from datatrial.tables import Table

REPOSITORY = "Anthropic/hh-rlhf"
Subset = Literal["harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled"]
Split = Literal["train", "test"]
ABOUT = (
    "160,800 training and 8,552 test comparisons in all (of them harmless-base 42,537 and 2,312; helpful-base 43,835 "
    "and 2,354). Crowdworkers talked with language models of up to 52 billion parameters, asking for help or trying "
    "to draw harm out of them, and at each turn picked the better (or less harmful) of two answers; the authors "
    "filtered little and report modest agreement between crowdworkers and themselves. Offensive in places."
)


class HhRlhf(Source):
    """HH-RLHF's transcripts as comparisons: the turns that both share, and the last answer of each.

    A row is left out and counted when its two transcripts differ before the last answer, when its turns do not
    alternate, when a turn or an answer is empty, or when both answers are the same. `subset` and `split` travel along.
    """

    subsets: tuple[Subset, ...] = Field(("harmless-base", "helpful-base"), min_length=1)
    splits: tuple[Split, ...] = Field(("train",), min_length=1)

    @field_validator("subsets", "splits")
    @classmethod
    def _once_each(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise PydanticCustomError("twice", "{what}", {"what": f"a name occurs twice: {', '.join(names)}"})
        return names

    @property
    def form(self) -> Form:
        return "comparisons"

    @property
    def _files(self) -> dict[tuple[Subset, Split], str]:
        return {(subset, split): f"{subset}/{split}.jsonl.gz" for subset in self.subsets for split in self.splits}

    def needs(self) -> Mapping[str, Needs]:
        return {"repository": HubFiles(REPOSITORY, patterns=tuple(self._files.values()))}

    def read(self, inputs: Mapping[str, Path]) -> "Table":
        from datatrial.sources._gathering import Gathering

        # All of them before any is read: a missing file shows at once, not after minutes.
        paths = {of: repository_file(inputs["repository"], name, REPOSITORY) for of, name in self._files.items()}
        gathering = Gathering(self.form)
        for (subset, split), path in paths.items():
            gathering.read(path, partial(_parse, subset=subset, split=split))
        return gathering.table(licence="MIT", answers_by="LLM", labels_by="human", about=ABOUT, origin=REPOSITORY)


def _parse(row: Row, subset: Subset, split: Split) -> Mapping[str, Any]:
    cells = Cells(row, {})
    chosen, rejected = (transcript(cells.text(name)) for name in ("chosen", "rejected"))
    return {**comparison(chosen, rejected), "subset": subset, "split": split}
