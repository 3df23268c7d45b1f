"""Supervised fine-tuning."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from datatrial.component import not_set
from datatrial.records import Form, Runtime
from datatrial.training._base import Stage


def _is_answers(loss: str) -> bool:
    return loss == "answers"


class Sft(Stage):
    """Fits the answers of demonstrations, or the chosen answers of comparisons, by their log-likelihood (TRL's SFT).

    The loss is averaged over the tokens of a batch: those of the answers, or all. On an adapter it goes on training the
    adapter.

    With `packing`, examples are put end to end and cut into rows of `max_length` tokens, as in TRL's stack-llama-2
    recipe (its ConstantLengthDataset): nothing is padded or dropped, a batch is one of rows, an example can begin in
    one row and end in the next, and *tokens see the examples before theirs in the row*. Held-out examples are measured
    each alone.
    """

    version: ClassVar[int] = 5
    forms: ClassVar[tuple[Form, ...]] = ("demonstrations", "comparisons")

    learning_rate: float = Field(1e-4, gt=0)
    packing: bool = Field(False, exclude_if=not_set)
    loss: Literal["answers", "all_tokens"] = Field("answers", exclude_if=_is_answers)  # what tokens are learned

    @property
    def packs(self) -> bool:
        return self.packing

    @property
    def learns_prompts(self) -> bool:
        return not _is_answers(self.loss)

    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from trl import SFTConfig

        from datatrial.training._examples import opened
        from datatrial.training._policy import policy_to_train
        from datatrial.training._run import configure, data_sets, run, write_result
        from datatrial.training._tokenized_sft import TokenizedSFTTrainer, packed_rows, rows

        ref, tokenizer, data = opened(inputs, self, 1)
        args = configure(SFTConfig, self, ref, data, out, runtime, dataset_kwargs={"skip_prepare_dataset": True})
        model, lora = policy_to_train(ref, self.lora, runtime.device)
        prepared = data_sets(data, partial(rows, loss=self.loss))
        if self.packing:
            prepared["train_dataset"] = packed_rows(data, self.loss)
        trainer = TokenizedSFTTrainer(
            model=model,
            args=args,
            **prepared,
            processing_class=tokenizer,
            peft_config=lora,
        )
        run(trainer, self, ref, runtime)
        write_result(trainer, ref, data, out)
