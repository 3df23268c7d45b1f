"""Training steps on a GPU: ours beside TRL's defaults, on token ids of real rows, by a model with random weights."""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch

LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.05}  # the paper's
COLUMNS = ["stage", "weights", "side", "texts' tokens/s", "against TRL", "utilization", "peak, GiB", "at once", "loss"]


@dataclass(frozen=True)
class Step:
    """What a batch took."""

    seconds: float
    loss: float


def write_rows(options: argparse.Namespace) -> None:
    """HH-RLHF's pairs and LIMA's demonstrations as token ids."""
    import _likelihood_models as models

    import training

    folder = models.made("25m", options.hub_root, options.work)
    _, tokenizer = models.loaded(folder)
    options.max_length = 1024
    found = {}
    for kind, form in (("sft", "demonstrations"), ("dpo", "comparisons")):
        examples = islice(training.examples_of(options, tokenizer, form), options.items)
        found[kind] = [(e.prompt, e.answers) for e in examples]
        print(f"{kind}: {len(found[kind])} examples", file=sys.stderr)
    with gzip.open(options.file, "wt") as out:
        json.dump(found, out)


def report(options: argparse.Namespace, model_of: Callable[..., Any]) -> list[str]:
    """The table, printed as it grows: of each stage, weights and side the median of some batches."""
    from datatrial.encoding import Example

    with gzip.open(options.file, "rt") as file:
        rows = json.load(file)
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for weights in options.weights:
        for kind in options.stages:
            examples = [Example(p, tuple(a), None, (-50.0, -50.0)) for p, a in rows[kind]]
            examples = examples[: options.batch * (options.rounds + 1)]
            taken: dict[str, float] = {}
            for side in ("TRL", "ours"):
                cells, taken[side] = measured(kind, side, weights, examples, options, model_of)
                against = f"{taken['TRL'] / taken[side]:.2f}" if side == "ours" else "1"
                lines.append(f"| {kind} | {weights} | {side} | {cells[0]} | {against} | {' | '.join(cells[1:])} |")
                print(lines[-1], file=sys.stderr, flush=True)
                if options.out:  # a lease may end at any time
                    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def measured(
    kind: str, side: str, weights: str, examples: Sequence[Any], options: argparse.Namespace, model_of: Any
) -> tuple[list[str], float]:
    """Cells of a side's line, and the seconds of a batch."""
    model = model_of(options.shape, weights, options.work / options.shape)
    trainer, at_once = trainer_of(kind, side, weights, model, examples, options)
    gpu = torch.cuda.is_available()
    steps = []
    for number in range(options.rounds + 1):
        batch = list(trainer.train_dataset.select(range(number * options.batch, (number + 1) * options.batch)))
        if gpu and number == 1:  # the first batch does not count
            torch.cuda.reset_peak_memory_stats()
        steps.append(step(trainer, side, batch))
    seconds = median(one.seconds for one in steps[1:])
    read, distinct, scored = tokens_of(examples[options.batch :])
    per_batch = len(examples) / options.batch - 1
    flops = 4 * (needed(model, distinct, scored)) / per_batch
    peak = torch.cuda.max_memory_allocated() / 2**30 if gpu else float("nan")
    share = flops / seconds / peak_flops() if gpu else float("nan")
    del trainer, model
    if gpu:
        torch.cuda.empty_cache()
    speed = read / per_batch / seconds
    return [f"{speed:,.0f}", f"{share:.1%}", f"{peak:.1f}", str(at_once), f"{steps[-1].loss:.3f}"], seconds


def trainer_of(
    kind: str, side: str, weights: str, model: Any, examples: Sequence[Any], options: argparse.Namespace
) -> tuple[Any, str]:
    """A trainer, and how much goes through its model at a time."""
    from peft import LoraConfig, get_peft_model
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from datatrial.shapes import shape_of
    from datatrial.training import _tokenized_dpo, _tokenized_sft
    from datatrial.training._at_once import at_once
    from datatrial.training._base import Stage

    gpu = torch.cuda.is_available()
    own = {"r": 8, "alpha": 16, "dropout": 0.05, "target_modules": LORA["target_modules"]}
    stage = Stage.of_kind(kind).model_validate({"lora": own, "batch_size": options.batch, "max_length": 1024})
    memory = options.memory * 2**30 or (torch.cuda.get_device_properties(0).total_memory if gpu else 2**34)
    part = at_once(stage, shape_of(model.config.to_dict()), "bfloat16", weights == "nf4", memory, gpu)
    settings: dict[str, Any] = {"output_dir": str(options.work / "out"), "report_to": "none", "use_cpu": not gpu}
    settings |= {"bf16": True, "max_length": 1024, "per_device_train_batch_size": options.batch}
    if side == "ours":
        settings |= {"gradient_checkpointing": part.checkpointing, **dict(options.trl)}
    if kind == "sft":
        args: Any = SFTConfig(**settings, dataset_kwargs={"skip_prepare_dataset": True})
        made: Any = _tokenized_sft.TokenizedSFTTrainer if side == "ours" else SFTTrainer
        data = _tokenized_sft.rows(examples, "answers")
    else:
        args, data = DPOConfig(**settings), _tokenized_dpo.rows(examples)
        made = _tokenized_dpo.TokenizedDPOTrainer if side == "ours" else _prepared(DPOTrainer)
    adapted = get_peft_model(model, LoraConfig(**LORA, task_type="CAUSAL_LM"))
    trainer = made(model=adapted, args=args, train_dataset=data, processing_class=tokenizer())
    trainer.create_optimizer()
    trainer.tokens_at_once = part.tokens
    trainer.current_gradient_accumulation_steps = 1  # what `train` would set
    checkpointed = ", blocks again" if args.gradient_checkpointing else ""
    return trainer, f"{part.tokens} tokens{checkpointed}" if side == "ours" else f"{options.batch} rows{checkpointed}"


def _prepared(trainer: Any) -> Any:
    class Prepared(trainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    return Prepared


def step(trainer: Any, side: str, batch: list[Any]) -> Step:
    """Forward, back and an optimizer step over a batch."""
    gpu = torch.cuda.is_available()
    start = time.perf_counter()
    if side == "ours":
        loss = trainer.training_step(trainer.model, batch)
    else:
        inputs = trainer.data_collator(batch)
        count = (inputs["labels"][:, 1:] != -100).sum() if "labels" in inputs else None
        loss = trainer.training_step(trainer.model, inputs, count)
    trainer.optimizer.step()
    trainer.model.zero_grad()
    if gpu:
        torch.cuda.synchronize()
    return Step(time.perf_counter() - start, float(loss))


def tokens_of(examples: Sequence[Any]) -> tuple[int, int, int]:
    """Tokens of all texts, those that are distinct (a prompt once), and those of answers."""
    answers = sum(len(answer) for e in examples for answer in e.answers)
    prompts = [len(e.prompt) for e in examples]
    return (
        sum(n * len(e.answers) for n, e in zip(prompts, examples, strict=True)) + answers,
        sum(prompts) + answers,
        answers,
    )


def needed(model: Any, tokens: int, scored: int) -> float:
    """Parameters × tokens: those of the blocks for each token that has to be read, the head's for each of an answer.

    LoRA needs four FLOPs for each, forward and back through weights that are not trained; what is computed again for
    want of memory is not needed.
    """
    from datatrial.shapes import shape_of

    shape = shape_of(model.config.to_dict())
    assert shape
    return float(shape.used * tokens + shape.hidden * shape.vocabulary * scored)


def peak_flops() -> float:
    from datatrial.estimates.devices import device_of

    device = device_of()
    assert device, "the GPU is in no table: add it to estimates/devices.json"
    return device.peak["bfloat16"]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="</s>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, {"true": True, "false": False}.get(value, value)


def add_commands(parts: Any, run: Callable[..., None], root: str | None, work: Path) -> None:
    """`rows` and `train`."""
    rows = parts.add_parser("rows")
    rows.set_defaults(run=write_rows)
    rows.add_argument("--hub-root", type=Path, default=root, required=root is None, help="a mirror of the hub")
    rows.add_argument("--items", type=int, default=256, help="of each kind")
    train = parts.add_parser("train")
    train.set_defaults(run=run)
    train.add_argument("--weights", nargs="+", choices=["bfloat16", "nf4"], default=["bfloat16", "nf4"])
    train.add_argument("--stages", nargs="+", choices=["sft", "dpo"], default=["sft", "dpo"])
    train.add_argument("--shape", default="7b")
    train.add_argument("--batch", type=int, default=8, help="examples")
    train.add_argument("--rounds", type=int, default=7, help="batches")
    train.add_argument("--memory", type=float, default=0, help="GiB that ours may reckon with; by default all")
    train.add_argument("--trl", nargs="+", type=_setting, default=[], help="for ours, such as use_liger_kernel=true")
    train.add_argument("--out", type=Path)
    for part in (rows, train):
        part.add_argument("file", type=Path)
        part.add_argument("--work", type=Path, default=work)
