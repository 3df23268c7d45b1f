"""Odds ratio preference optimization."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datatrial.records import Runtime
from datatrial.training._base import ComparisonStage


class Orpo(ComparisonStage):
    """Fine-tuning and preferences in one: the chosen answer's likelihood, and its odds over the rejected one's.

    Hong et al. 2024; TRL's experimental ORPO. There is no reference policy, so it is a stage for a base model as much
    as after SFT. As in TRL, the likelihood is that of prompt and chosen answer, a mean over the tokens of a batch; the
    odds are of answers alone, by their mean log-likelihood a token.
    """

    version: ClassVar[int] = 3

    learning_rate: float = Field(8e-6, gt=0)
    beta: float = Field(0.1, gt=0)  # how much the odds count beside the likelihood: λ in the paper

    @property
    def learns_prompts(self) -> bool:
        return True

    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from trl.experimental.orpo import ORPOConfig

        from datatrial.training._examples import opened
        from datatrial.training._policy import adapted_policy
        from datatrial.training._run import configure, data_sets, run, write_result
        from datatrial.training._tokenized_orpo import TokenizedORPOTrainer, rows

        ref, tokenizer, data = opened(inputs, self, 2)
        own = {"beta": self.beta, "remove_unused_columns": False}
        args = configure(ORPOConfig, self, ref, data, out, runtime, **own)
        trainer = TokenizedORPOTrainer(
            model=adapted_policy(ref, self, runtime.device),
            args=args,
            **data_sets(data, rows),
            processing_class=tokenizer,
        )
        run(trainer, self, ref, runtime)
        write_result(trainer, ref, data, out)
