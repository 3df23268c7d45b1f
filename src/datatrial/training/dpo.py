"""Direct preference optimization."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datatrial.records import Runtime
from datatrial.training._base import ComparisonStage


class Dpo(ComparisonStage):
    """Fits which of two answers is the better one, relative to a frozen reference (Rafailov et al. 2023; TRL's DPO).

    After SFT it goes on training the SFT adapter and the reference is that adapter as it was; on a base model it trains
    a new adapter and the reference is the base model. What the reference says is computed once for all stages that
    start from the same policy on the same data, whatever their beta and seed; within the stage where it is to see but
    some of the rows.
    """

    version: ClassVar[int] = 5
    has_reference: ClassVar[bool] = True

    learning_rate: float = Field(5e-6, gt=0)
    beta: float = Field(0.1, gt=0)  # how dear it is to move away from the reference

    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from trl import DPOConfig

        from datatrial.training._examples import opened, with_own_reference
        from datatrial.training._policy import policy_to_train
        from datatrial.training._run import configure, data_sets, run, write_result
        from datatrial.training._tokenized_dpo import TokenizedDPOTrainer, rows

        ref, tokenizer, data = opened(inputs, self, 2)
        if "reference" not in inputs:
            data = with_own_reference(data, inputs["policy"], runtime)
        # So TRL makes no copy of a model whose every weight is trained; what the reference says is in the rows.
        known = {"precompute_ref_log_probs": not self.lora}
        args = configure(DPOConfig, self, ref, data, out, runtime, beta=self.beta, **known)
        model, lora = policy_to_train(ref, self.lora, runtime.device)
        trainer = TokenizedDPOTrainer(
            model=model,
            args=args,
            **data_sets(data, rows),
            processing_class=tokenizer,
            peft_config=lora,
        )
        run(trainer, self, ref, runtime)
        write_result(trainer, ref, data, out)
