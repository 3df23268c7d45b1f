"""Kahneman-Tversky optimization."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datatrial.records import Runtime
from datatrial.training._base import ComparisonStage


class Kto(ComparisonStage):
    """Makes good answers likelier and bad ones less likely, each by itself (Ethayarajh et al. 2024; TRL's KTO).

    Both answers of a comparison are examples of their own, the chosen one desirable and the rejected one not; they are
    gone through in an order that does not keep them together, and `batch_size` and `budget` count answers. The
    reference is the policy that training starts from, as in DPO, and what it says of the answers is that step's.

    The loss also has the divergence from the reference, estimated by each prompt of a batch with the answer before its
    own. What the reference says of these pairs depends on the order, so it is asked within the stage, beforehand.
    """

    version: ClassVar[int] = 3
    has_reference: ClassVar[bool] = True
    texts: ClassVar[int] = 1
    examples_of_a_row: ClassVar[int] = 2

    learning_rate: float = Field(5e-6, gt=0)
    beta: float = Field(0.1, gt=0)  # how dear it is to move away from the reference
    batch_size: int = Field(8, gt=1)  # answers; one alone has no other to be mismatched with

    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from trl import KTOConfig

        from datatrial.training._examples import opened, with_own_reference
        from datatrial.training._policy import policy_to_train
        from datatrial.training._run import configure, run, write_result
        from datatrial.training._tokenized_kto import TokenizedKTOTrainer, data_sets, unpaired

        ref, tokenizer, data = opened(inputs, self, 2)
        data = unpaired(data, self)
        if "reference" not in inputs:
            data = with_own_reference(data, inputs["policy"], runtime)
        own = {"beta": self.beta, "train_sampling_strategy": "sequential", "precompute_ref_log_probs": not self.lora}
        args = configure(KTOConfig, self, ref, data, out, runtime, **own)
        prepared = data_sets(data, self, inputs["policy"], runtime)
        model, lora = policy_to_train(ref, self.lora, runtime.device)
        trainer = TokenizedKTOTrainer(
            model=model,
            args=args,
            **prepared,
            processing_class=tokenizer,
            peft_config=lora,
        )
        run(trainer, self, ref, runtime)
        write_result(trainer, ref, data, out)
