"""Training a small causal language model from nothing: tokenizer, blocks, loop. Imported when a step runs."""

import io
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    get_cosine_with_min_lr_schedule_with_warmup,
)
from transformers.utils.logging import disable_progress_bar

from datatrial.errors import DataError, ModelError
from datatrial.files import sealed, settle, unsealed
from datatrial.records import Runtime

if TYPE_CHECKING:
    from datatrial.models.from_scratch import FromScratch

disable_progress_bar()  # of the writing of files; the training's own progress goes to the engine

PAD, BEGIN, END = "<pad>", "<s>", "</s>"

# Found to train a model of this size in one pass over two million tokens (AdamW: Loshchilov & Hutter 2019).
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.05  # of matrices only
WARMUP = 0.02  # share of the steps
LAST_LEARNING_RATE = 0.05  # share of the highest, at the end of the cosine
MAX_GRADIENT_NORM = 1.0


def train_tokenizer(texts: Sequence[str], vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) that can write any text and begins each one with `<s>`."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, bpe.token_to_id(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=BEGIN, eos_token=END, pad_token=PAD, model_max_length=max_length
    )


def blocks_of(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, length: int) -> torch.Tensor:
    """All texts end to end, each between `<s>` and `</s>`, cut into rows of `length` tokens (the rest is left out).

    Raises: DataError when there is not one full row.
    """
    # Special tokens that a text happens to spell are read as text, or a row could end its own document.
    encoded = tokenizer(list(texts), split_special_tokens=True, return_attention_mask=False, verbose=False)
    ids = [token for document in encoded["input_ids"] for token in (*document, tokenizer.eos_token_id)]
    if len(ids) < length:
        raise DataError(f"the corpus has {len(ids)} tokens, not one block of {length}: add text, or lower block_length")
    rows = len(ids) // length
    return torch.tensor(ids[: rows * length]).view(rows, length)


def new_model(settings: "FromScratch", tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A model with fresh weights, drawn from the seed."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.max_positions,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return LlamaForCausalLM(config)


@dataclass(frozen=True)
class Point:
    """The training loss of one step, in nats per token."""

    step: int
    epoch: float
    loss: float


def train(model: LlamaForCausalLM, blocks: torch.Tensor, settings: "FromScratch", runtime: Runtime) -> list[Point]:
    """Fit the model to next-token prediction and leave it on the CPU; the loss of each step comes back.

    Raises: ModelError when the loss is no number any more.
    """
    model.to(runtime.device).train()
    steps_an_epoch = math.ceil(len(blocks) / settings.batch_size)
    steps = math.ceil(settings.epochs * steps_an_epoch)
    optimizer = AdamW(_decayed(model), lr=settings.learning_rate, betas=BETAS, fused=True)
    schedule = get_cosine_with_min_lr_schedule_with_warmup(
        optimizer, math.ceil(WARMUP * steps), steps, min_lr_rate=LAST_LEARNING_RATE
    )
    checkpoint = _Checkpoint(model, optimizer, schedule, runtime)
    history = checkpoint.found()
    ahead = islice(_batches(blocks, settings), len(history), steps)
    for step, batch in enumerate(ahead, start=len(history) + 1):
        batch = batch.to(runtime.device)
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        history.append(Point(step, step / steps_an_epoch, loss.item()))
        if not math.isfinite(history[-1].loss):
            raise ModelError(f"the loss is no number at step {step} of {steps}: lower the model's learning_rate")
        checkpoint.write_when_due(history)
        runtime.progress(step, steps, "training steps")
    model.to("cpu").eval()
    return history


class _Checkpoint:
    """Where training stands, in the step's scratch: what was interrupted goes on as if it had not been."""

    def __init__(self, model: LlamaForCausalLM, optimizer: AdamW, schedule: LambdaLR, runtime: Runtime):
        self.parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
        self.file = runtime.scratch / "pretraining.pt" if runtime.scratch else None
        self.device, self.every, self.saved = runtime.device, runtime.checkpoint_every, time.monotonic()

    def found(self) -> list[Point]:
        """The loss of each step before, after which training goes on; none if it begins."""
        if self.file is None or not self.file.exists():
            return []
        saved = unsealed(self.file.read_bytes())
        if saved is None:
            print("what was saved is damaged: training begins anew", flush=True)
            return []
        state = torch.load(io.BytesIO(saved), map_location=self.device, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        print(f"going on from step {len(state['history'])}", flush=True)  # in the step's log
        return [Point(*point) for point in state["history"]]

    def write_when_due(self, history: list[Point]) -> None:
        if self.file is None or not self.every.is_due(len(history), time.monotonic() - self.saved):
            return
        written = self.file.with_suffix(".new")
        state, saved = {name: part.state_dict() for name, part in self.parts.items()}, io.BytesIO()
        torch.save({**state, "history": [astuple(point) for point in history]}, saved)
        written.write_bytes(sealed(saved.getvalue()))
        settle(written)
        written.replace(self.file)
        self.saved = time.monotonic()


def _decayed(model: LlamaForCausalLM) -> list[dict[str, Any]]:
    """The parameters in two groups: weight decay is for matrices, not for the scales of norms."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _batches(blocks: torch.Tensor, settings: "FromScratch") -> Iterator[torch.Tensor]:
    """Batches for ever: each epoch in an order of its own, drawn from the seed."""
    order = torch.Generator().manual_seed(settings.seed)
    while True:
        yield from blocks[torch.randperm(len(blocks), generator=order)].split(settings.batch_size)


def write_history(
    history: list[Point], out: Path, documents: int, blocks: torch.Tensor, model: LlamaForCausalLM
) -> None:
    """The loss curve as `history.parquet`, and what was trained on what as `training.json`."""
    columns = {"step": pl.Int64, "epoch": pl.Float64, "metric": pl.String, "value": pl.Float64}
    rows = [(point.step, point.epoch, "loss", point.loss) for point in history]
    pl.DataFrame(rows, columns, orient="row").write_parquet(out / "history.parquet")
    summary = {
        "examples": documents,
        "tokens": blocks.numel(),
        "steps": len(history),
        "passes": history[-1].epoch,
        "parameters": model.num_parameters(),
        "vocabulary": model.config.vocab_size,
        "loss_first": history[0].loss,
        "loss_last": history[-1].loss,
    }
    (out / "training.json").write_text(json.dumps(summary, indent=2))
