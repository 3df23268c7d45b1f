"""TRL's ORPO trainer for examples that are token ids already, with the head and the metrics of its other trainers."""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from trl.experimental.orpo import ORPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import add_fused_lm_head

from datatrial.encoding import Example
from datatrial.training._parts import MeanOverExamples, Row
from datatrial.training._shared_prefixes import share_prefixes


class TokenizedORPOTrainer(MeanOverExamples, ORPOTrainer):  # type: ignore[misc]
    """Takes batches as TRL's DPO trainer makes them.

    Of a batch in parts, the likelihood is a mean over tokens and the odds are one over examples: parts are weighted so
    that both come out as those of the batch.
    """

    def __init__(self, **settings: Any):
        tokenizer = settings["processing_class"]
        super().__init__(**settings, data_collator=DataCollatorForPreference(tokenizer.pad_token_id))
        self.use_dpo_data_collator = True  # ours is as good, which TRL would doubt before each batch
        self._metrics = self._stored_metrics  # what TRL's other trainers call them
        self._total_train_tokens = 0
        self._batch: Sequence[Row] = ()  # that is gone through in parts
        model = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        add_fused_lm_head(model, outputs=("log_probs", "mean_logits"))  # else there would be logits of every token
        self.notes = share_prefixes(self.model, balances_experts=self.aux_loss_enabled)

    def counted_in(self, metric: str, row: Row) -> int:
        return {"logits/chosen": len(row["chosen_ids"]), "logits/rejected": len(row["rejected_ids"])}.get(metric, 1)

    def tokenize_row(self, feature: Row, *_: Any, **__: Any) -> Row:
        return feature

    def _summed(self, model: Any, rows: Sequence[Row], *step: Any) -> torch.Tensor:
        self._batch = rows
        try:
            loss = super()._summed(model, rows, *step)
        finally:
            self._batch = ()
        self._total_train_tokens += sum(map(tokens_read, rows))
        return loss

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        """As TRL's, but that logits are means over the vocabulary, and of answers alone."""
        ids, answers = batch["input_ids"], batch["completion_mask"].bool()
        chosen = len(ids) // 2  # come first
        scored = torch.cat([batch["attention_mask"][:chosen].bool(), answers[chosen:]])  # of which the loss has a part
        found = model(
            input_ids=ids,
            attention_mask=batch["attention_mask"],
            labels=ids.masked_fill(~scored, -100),
            fused_lm_head=True,
            use_cache=False,
            **({"output_router_logits": True} if self.aux_loss_enabled else {}),
        )
        log_probs, answers, scored = found.log_probs, answers[:, 1:], scored[:, 1:]
        means = (log_probs * answers).sum(-1) / answers.sum(-1)
        learned = scored[:chosen]
        likelihood = -(log_probs[:chosen] * learned).sum() / learned.sum() * self._share(learned.sum(), chosen)
        logits = [found.mean_logits[half][answers[half]] for half in (slice(chosen), slice(chosen, None))]
        aux = (found.aux_loss,) if self.aux_loss_enabled else ()
        return (means[:chosen], means[chosen:], *logits, likelihood, *aux)

    def _share(self, tokens: torch.Tensor, examples: int) -> torch.Tensor | float:
        """What a part's share of the batch's tokens is over its share of the examples, which it is weighted by."""
        if not self._batch:
            return 1.0
        whole = sum(len(row["prompt_ids"]) + len(row["chosen_ids"]) - 1 for row in self._batch)
        return tokens / whole * len(self._batch) / examples

    def log(self, logs: dict[str, float], *rest: Any) -> None:
        counted = {"num_tokens": float(self._total_train_tokens)} if "loss" in logs else {}
        super().log({**logs, **counted}, *rest)


def tokens_read(row: Row) -> int:
    """Tokens of a row as TRL counts them: the prompt with each of its answers."""
    return sum(len(row["prompt_ids"]) + len(row[name]) for name in ("chosen_ids", "rejected_ids"))


def rows(examples: Sequence[Example]) -> Dataset:
    """Examples of two answers, in the columns of TRL's DPO."""
    columns = {
        "prompt_ids": [e.prompt for e in examples],
        "chosen_ids": [e.answers[0] for e in examples],
        "rejected_ids": [e.answers[1] for e in examples],
    }
    return Dataset.from_dict(columns)
