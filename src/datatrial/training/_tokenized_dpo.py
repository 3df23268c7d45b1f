"""TRL's DPO trainer for examples that are token ids already, and whose reference has spoken."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import DPOTrainer

from datatrial.encoding import Example
from datatrial.training._parts import MeanOverExamples, Row
from datatrial.training._shared_prefixes import share_prefixes

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class TokenizedDPOTrainer(MeanOverExamples, DPOTrainer):  # type: ignore[misc]
    """Takes the columns that TRL's own preparation makes; unlike SFT's, that one does not see that they are there.

    So it is with the log-probabilities of the reference, which needs no adapter of its own then.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.precompute_ref_logps = True
        drop_reference(self.model)
        self.notes = share_prefixes(self.model, balances_experts=self.aux_loss_enabled)

    def counted_in(self, metric: str, row: Row) -> int:
        chosen, rejected = len(row["chosen_ids"]), len(row["rejected_ids"])
        tokens = {"logits/chosen": chosen, "logits/rejected": rejected, "mean_token_accuracy": chosen}
        return {**tokens, "entropy": chosen + rejected}.get(metric, 1)

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def drop_reference(model: "PreTrainedModel | PeftModel") -> None:
    """Let go of the copy of an adapter that TRL makes as the reference: it has spoken."""
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")


def rows(examples: Sequence[Example]) -> Dataset:
    """Examples of two answers and what the reference says of them, in TRL's columns."""
    columns = {
        "prompt_ids": [e.prompt for e in examples],
        "chosen_ids": [e.answers[0] for e in examples],
        "rejected_ids": [e.answers[1] for e in examples],
        "ref_chosen_logps": [e.reference[0] for e in examples],
        "ref_rejected_logps": [e.reference[1] for e in examples],
    }
    return Dataset.from_dict(columns)
