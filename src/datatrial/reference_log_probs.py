"""What a reference policy says of comparisons: computed once for every stage that measures a policy against it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from datatrial.component import Component, not_set
from datatrial.encoding import Example, encode, fit, reason_to_drop, rows_of
from datatrial.errors import DataError
from datatrial.prompts import PromptFormat
from datatrial.records import Progress, Runtime

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

LogProbs = list[tuple[float, ...]]  # of an example's answers, in nats: the chosen and the rejected one
_FILE = "log_probs.parquet"


class ReferenceLogProbs(Component):
    """Writes `log_probs.parquet`: a policy's log-likelihood of each row's `chosen` and `rejected` answer, in nats.

    Reads the inputs `policy` (a result with `model.json`) and `data` (comparisons). Answers are cut as a stage with
    these settings cuts them; where one has none left, or both are the same, the row has no numbers.
    """

    version: ClassVar[int] = 1

    prompt: PromptFormat
    max_length: int = Field(gt=1)  # tokens
    max_prompt_length: int | None = Field(None, gt=0, exclude_if=not_set)

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        import polars as pl

        from datatrial.policies import load_policy, longest_input
        from datatrial.tables import Table

        table = Table.read(inputs["data"])
        if table.card.form != "comparisons":
            raise DataError(f"only comparisons have a better and a worse answer, not {table.card.form}")
        model, tokenizer = load_policy(inputs["policy"], runtime.device)
        limit = min(self.max_length, longest_input(model.config) or self.max_length)
        whole = encode(list(rows_of(table, 2)), tokenizer, self.prompt)
        fitted = [fit(example, limit, self.max_prompt_length) for example in whole]
        asked = {place: example for place, example in enumerate(fitted) if reason_to_drop(example) is None}
        journal = runtime.scratch / "log_probs" if runtime.scratch else None
        found = dict(zip(asked, log_probs_of(model, list(asked.values()), runtime.progress, journal), strict=True))
        rows = [found.get(place, (None, None)) for place in range(len(fitted))]
        columns = {"chosen": pl.Float64, "rejected": pl.Float64}
        pl.DataFrame(rows, columns, orient="row").write_parquet(out / _FILE)


def read_log_probs(result: Path) -> LogProbs:
    """Of each row of the data set; NaN where there are none."""
    import polars as pl

    return pl.read_parquet(result / _FILE).fill_null(math.nan).rows()


def log_probs_of(
    model: "PreTrainedModel | PeftModel", examples: Sequence[Example], progress: Progress, journal: Path | None = None
) -> LogProbs:
    """A policy's log-likelihoods of the answers of each example, each distinct prefix computed once.

    journal: a folder to keep finished work in, to go on from after an interruption.
    """
    from datatrial.likelihood.scorer import Scorer
    from datatrial.likelihood.trie import Request, Trie

    requests = [Request(example.prompt, answer) for example in examples for answer in example.answers]
    longest = max((len(request.context) + len(request.continuation) for request in requests), default=1)
    scored = Scorer(model).score(Trie.of(requests, longest), len(requests), progress, journal)
    found = iter(scored.log_likelihood.tolist())
    return [tuple(next(found) for _ in example.answers) for example in examples]


def with_reference(examples: Sequence[Example], found: LogProbs) -> list[Example]:
    """The examples with what a reference says of them."""
    return [replace(example, reference=pair) for example, pair in zip(examples, found, strict=True)]
