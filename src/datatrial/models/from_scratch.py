"""A small base model trained here, on data sets of the study."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from datatrial.errors import DataError
from datatrial.foreign.model_files import readable_by_umask
from datatrial.models._base import Model
from datatrial.policies import NF4_BLOCK
from datatrial.prompts import conversation_text
from datatrial.records import Message, ModelRef, PartOfStudy, Runtime

if TYPE_CHECKING:
    from datatrial.tables import Table


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class FromScratch(Model):
    """A byte-level BPE tokenizer and a Llama-architecture model, trained on the text of one or more data sets.

    The defaults train 0.56 M parameters on 2 M tokens in about two minutes on one CPU core. On one thread of a CPU,
    the same corpus and settings give the same weights, bit for bit. Weights are trained and kept in float32;
    `dtype` and `quantization` are what later steps load them as.
    """

    corpus: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = Field(min_length=1, exclude=True)
    prompt: Literal["question_answer", "transcript"] = "question_answer"  # how conversations become running text
    vocab_size: int = Field(1200, ge=259)  # entries at most: the 256 bytes and three special tokens are always there
    hidden_size: int = Field(128, gt=0)
    intermediate_size: int = Field(352, gt=0)
    layers: int = Field(2, gt=0)
    heads: int = Field(4, gt=0)
    max_positions: int = Field(256, gt=1)  # longest input the model accepts, in tokens
    block_length: int = Field(128, gt=1)  # tokens of a training sequence
    batch_size: int = Field(8, gt=0)  # sequences an optimizer step
    learning_rate: float = Field(6e-3, gt=0)
    epochs: float = Field(1, gt=0)
    seed: int = 0  # initialization and order of the sequences

    def reads(self) -> Mapping[str, PartOfStudy]:
        return {f"corpus-{number}": PartOfStudy("data", name) for number, name in enumerate(self.corpus)}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise PydanticCustomError(
                "shape", "hidden_size should be a multiple of twice heads, as rotary positions need"
            )
        if self.block_length > self.max_positions:
            raise PydanticCustomError("shape", "block_length should not be above max_positions")
        if self.quantization and (self.hidden_size % NF4_BLOCK or self.intermediate_size % NF4_BLOCK):
            raise PydanticCustomError("shape", "nf4 needs a hidden_size and intermediate_size that are multiples of 64")
        return self

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Train the tokenizer and the model; write them to `weights/`, with the loss curve beside them.

        Raises: DataError when the corpus is too small or of questions; ModelError when training diverges.
        """
        from datatrial.models import _pretraining
        from datatrial.tables import Table

        tables = [Table.read(inputs[f"corpus-{number}"]) for number in range(len(self.corpus))]
        texts = [text for table in tables for text in running_texts(table, self.prompt)]
        tokenizer = _pretraining.train_tokenizer(texts, self.vocab_size, self.max_positions)
        blocks = _pretraining.blocks_of(texts, tokenizer, self.block_length)
        model = _pretraining.new_model(self, tokenizer)
        history = _pretraining.train(model, blocks, self, runtime)
        model.save_pretrained(out / "weights")
        tokenizer.save_pretrained(out / "weights")
        readable_by_umask(out / "weights")
        _pretraining.write_history(history, out, documents=len(texts), blocks=blocks, model=model)
        ModelRef("weights", dtype=self.dtype, quantization=self.quantization).write(out)


def running_texts(table: "Table", style: Literal["question_answer", "transcript"]) -> Iterator[str]:
    """The rows of a data set as running text; a comparison counts as the conversation with its chosen answer.

    Raises: DataError for multiple-choice questions, which benchmarks are made of.
    """
    form = table.card.form
    if form == "questions":
        raise DataError("a base model cannot be trained on multiple-choice questions; name documents or conversations")
    for row in table.rows.iter_rows(named=True):
        if form in ("documents", "statements"):
            yield row["text"]
        elif form == "demonstrations":
            yield conversation_text(row["messages"], style)
        else:
            chosen: Message = {"role": "assistant", "content": row["chosen"]}
            yield conversation_text([*row["messages"], chosen], style)
