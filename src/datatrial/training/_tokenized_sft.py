"""TRL's SFT trainer, and examples and packed rows in the columns that it takes for prepared."""

from collections.abc import Sequence
from typing import Any, Literal

from datasets import Dataset
from trl import SFTTrainer

from datatrial.encoding import Example
from datatrial.training._examples import Examples
from datatrial.training._order import packed
from datatrial.training._parts import InParts, Row
from datatrial.training._shared_prefixes import share_prefixes

Loss = Literal["answers", "all_tokens"]
IGNORED = -100  # the label of a token that is not learned


class TokenizedSFTTrainer(InParts, SFTTrainer):  # type: ignore[misc]
    """TRL's, whose loss is the mean over the learned tokens of a batch."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.notes = share_prefixes(self.model, balances_experts=self.aux_loss_enabled)

    def weight_of(self, row: Row) -> int:
        return sum(label != IGNORED for label in row["labels"][1:])  # nothing is before the first token

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: float | None = None
    ) -> Any:
        if num_items_in_batch is not None and self.aux_loss_enabled:
            # What TRL divides the loss that balances experts by: a part counts as its tokens do in the batch.
            learned = int((inputs["labels"][:, 1:] != IGNORED).sum())
            self.current_gradient_accumulation_steps = num_items_in_batch / (self.args.world_size * max(learned, 1))
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


def rows(examples: Sequence[Example], loss: Loss) -> Dataset:
    """One row for each example, which has a single answer."""
    prompts = [e.prompt if loss == "all_tokens" else [IGNORED] * len(e.prompt) for e in examples]
    columns = {
        "input_ids": [e.prompt + e.answers[0] for e in examples],
        "labels": [prompt + e.answers[0] for prompt, e in zip(prompts, examples, strict=True)],
    }
    return Dataset.from_dict(columns)


def packed_rows(data: Examples, loss: Loss) -> Dataset:
    """One row for each `max_length` tokens of the examples, put end to end in the order of training."""
    cut = list(packed(data.train, data.order, data.max_length))
    labels = [
        [token if learned or loss == "all_tokens" else IGNORED for token, learned in zip(ids, of_answer, strict=True)]
        for ids, of_answer in cut
    ]
    return Dataset.from_dict({"input_ids": [ids for ids, _ in cut], "labels": labels})
