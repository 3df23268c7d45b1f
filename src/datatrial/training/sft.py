"""Supervised fine-tuning."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datatrial.records import Form, ModelRef, Runtime
from datatrial.training._base import Stage


class Sft(Stage):
    """Fits the answers of demonstrations, or the chosen answers of comparisons, by their log-likelihood (TRL's SFT).

    The loss is on the answer only, averaged over the tokens of a batch. On an adapter it goes on training the adapter.
    """

    forms: ClassVar[tuple[Form, ...]] = ("demonstrations", "comparisons")

    learning_rate: float = Field(1e-4, gt=0)

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        from datatrial.policies import load_tokenizer, longest_input
        from datatrial.tables import Table
        from datatrial.training._examples import Example, prepare
        from datatrial.training._policy import policy_to_train
        from datatrial.training._run import configure, run, write_result

        ref = ModelRef.read(inputs["policy"])
        base = Path(ref.weights)
        tokenizer = load_tokenizer(base)
        data = prepare(Table.read(inputs["data"]), tokenizer, self, answers=1, longest=longest_input(base))

        def rows(examples: list[Example]) -> Dataset | None:
            # TRL takes these columns for tokenized already; it masks the prompt out of the loss.
            columns = {
                "input_ids": [e.prompt + e.answers[0] for e in examples],
                "completion_mask": [[0] * len(e.prompt) + [1] * len(e.answers[0]) for e in examples],
            }
            return Dataset.from_dict(columns) if examples else None

        args = configure(SFTConfig, self, ref, data, out, runtime, completion_only_loss=True)
        model, lora = policy_to_train(ref, self.lora, runtime.device)
        trainer = SFTTrainer(
            model=model,
            args=args,
            train_dataset=rows(data.train),
            eval_dataset=rows(data.held_out),
            processing_class=tokenizer,
            peft_config=lora,
        )
        curves = run(trainer, self, runtime)
        write_result(trainer.model, ref, data, curves, args, out)
