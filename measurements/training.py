"""Training steps: ours beside TRL's, alternating, on the rows of a mirror; gradients are compared on the way.

    python measurements/training.py dpo [--batch-sizes 4 16] [--batches 12] [--threads 1]
    python measurements/training.py reward [--batch-sizes 4 16]
    python measurements/training.py sft [--batch-sizes 8]

A step is what a trainer does with a batch up to its gradients: padding or packing, forward, loss, metrics, back. TRL
comes as it is ("as shipped"), which on a CPU scores every position of a batch, and with the logits of answers alone
("compact"), as it is on a GPU. Its DPO asks the reference in every step; ours has asked before, once for all stages on
the same policy and data. What that took is told apart: "reference included" is a single stage of one pass that shares
it with nobody. Its SFT comes with batches of examples (its default) and packed into rows of --max-length tokens
(`packing`, without flash attention), at its best number of rows a batch of 1, 2 and 4; times are of the same examples.

The model has random weights and a LoRA of rank 8 on all linear layers that has been moved from its start; its
vocabulary has 32,000 tokens (measurements/_likelihood_models.py). Beside each ratio of times stands the ratio of FLOPs
that the same batches have for Llama 2 7B, by the formulas of `estimates/compute.py`: a small model has a large head.
Prints tables in Markdown: the median of the batches' ratios and their range, and the ratio of the times of all batches.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

LIBRARIES = ("datatrial", "trl", "transformers", "peft", "torch")
TRL: dict[str, Any] = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none"}
MOVED = 0.02  # standard deviation of what LoRA's matrices are drawn from
Step = Callable[[Any], float]  # from the rows of a batch to its loss


@dataclass(frozen=True)
class Side:
    """A way to make a step."""

    name: str
    trainer: Any
    step: Step
    compact: bool = True
    factor: float = 1.0  # of the steps' work that has to be done elsewhere, and is told apart


def examples_of(options: argparse.Namespace, tokenizer: Any, form: str) -> list[Any]:
    """Rows of HH-RLHF or LIMA as examples, in random order."""
    from datatrial.encoding import encode, fit, reason_to_drop, rows_of
    from datatrial.sources.hh_rlhf import HhRlhf
    from datatrial.sources.lima import Lima

    source = HhRlhf(subsets=("harmless-base",)) if form == "comparisons" else Lima()
    table = read(source, options.hub_root)
    style = "transcript" if form == "comparisons" else "question_answer"
    whole = encode(list(rows_of(table, 2)), tokenizer, style)
    found = [e for e in (fit(example, options.max_length) for example in whole) if reason_to_drop(e) is None]
    Random(0).shuffle(found)
    return found


def read(source: Any, hub_root: Path) -> Any:
    from datatrial.data_set import DataSet
    from datatrial.externals import Lock, Resolver
    from datatrial.records import Runtime
    from datatrial.tables import Table

    task = DataSet(source=source)
    out = Path(tempfile.mkdtemp())
    resolver = Resolver(Lock.beside(None), hub_root, out / "digests.json", False)
    inputs = {name: resolver.resolve(need).locate() for name, need in task.needs().items()}
    task.run(inputs, out, Runtime())
    return Table.read(out)


def adapted(folder: Path, scores: bool = False) -> Any:
    """The model with a LoRA that has been moved; with a score head, if it is to be a reward model."""
    import _likelihood_models as models
    import torch
    from peft import LoraConfig, get_peft_model

    from datatrial.rewards import with_score_head

    model, tokenizer = models.loaded(folder)
    torch.manual_seed(0)
    model = with_score_head(model, tokenizer) if scores else model
    task = "SEQ_CLS" if scores else "CAUSAL_LM"
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type=task))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=MOVED)
    return model


def gradients(trainer: Any) -> dict[str, Any]:
    found = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    trainer.model.zero_grad()
    return found


def apart(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """The largest difference of a parameter's gradients, relative to their size."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - other).norm() / other.norm()) for name, other in theirs.items())


def timed(side: Side, rows: Any) -> tuple[float, float, dict[str, Any]]:
    import trl.trainer.utils

    trl.trainer.utils._use_triton = lambda _: side.compact
    side.trainer.model.train()
    start = time.perf_counter()
    loss = side.step(rows)
    seconds = time.perf_counter() - start
    return seconds, loss, gradients(side.trainer)


def ours_of(trainer: Any, options: argparse.Namespace) -> Step:
    from datatrial.training._at_once import MOST_ON_CPU

    trainer.tokens_at_once = options.at_once or MOST_ON_CPU
    return lambda rows: float(trainer.training_step(trainer.model, list(rows)))


def theirs_of(trainer: Any) -> Step:
    trainer.current_gradient_accumulation_steps = 1  # what `train` would set

    def step(rows: Any) -> float:
        inputs = trainer.data_collator(list(rows))
        count = (inputs["labels"][:, 1:] != -100).sum() if "labels" in inputs else None
        return float(trainer.training_step(trainer.model, inputs, count))

    return step


def pairs(kind: str, options: argparse.Namespace, folder: Path, examples: Sequence[Any], tokenizer: Any) -> list[Side]:
    """Ours, TRL compact, and TRL as shipped where that differs."""
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    from datatrial.training import _reward, _tokenized_dpo

    class Prepared(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    shared: dict[str, Any] = {"processing_class": tokenizer}
    settings = {"output_dir": str(options.work / "out"), **TRL}
    if kind == "dpo":
        shared["args"] = DPOConfig(**settings, max_length=options.max_length)
        shared["train_dataset"] = _tokenized_dpo.rows(examples)
        classes: Any = (_tokenized_dpo.TokenizedDPOTrainer, Prepared)
    else:
        shared["args"] = RewardConfig(**settings, max_length=None)
        shared["train_dataset"] = _reward.rows(examples)
        classes = (_reward.TokenizedRewardTrainer, RewardTrainer)
    ours, theirs = (each(model=adapted(folder, kind == "reward"), **shared) for each in classes)
    sides = [Side("ours", ours, ours_of(ours, options)), Side("TRL, compact", theirs, theirs_of(theirs))]
    if kind == "dpo":
        sides.append(Side("TRL, as shipped", theirs, theirs_of(theirs), compact=False))
    return sides


def compare_pairs(kind: str, options: argparse.Namespace) -> Iterator[str]:
    import _likelihood_models as models

    from datatrial.encoding import Example

    folder = models.made(options.size, options.hub_root, options.work)
    _, tokenizer = models.loaded(folder)
    examples = examples_of(options, tokenizer, "comparisons")
    columns = [
        "pairs a batch",
        "steps",
        "against TRL, compact",
        "against TRL, as shipped",
        "compact, reference included",
    ]
    columns += ["FLOPs of Llama 2 7B, compact", "tokens padded / read", "gradients apart", "loss apart"]
    if kind == "reward":
        columns = [c for c in columns if "shipped" not in c and "reference" not in c]
        columns[2] = "against TRL"
    yield from head(columns)
    for size in options.batch_sizes:
        used: list[Example] = examples[: size * options.batches]
        before = 0.0
        if kind == "dpo":
            used, before = with_reference(used, adapted(folder).eval())
        sides = pairs(kind, options, folder, used, tokenizer)
        batches = [sides[0].trainer.train_dataset.select(range(n, n + size)) for n in range(0, len(used), size)]
        ratios, gaps, losses, sizes = race(sides, batches)
        cells = [str(size), str(len(batches)), f"**{told(sizes, ratios, 'TRL, compact')}**"]
        if kind == "dpo":
            ours = sum(sizes["seconds"]["ours"])
            cells += [told(sizes, ratios, "TRL, as shipped")]
            cells += [f"{sum(sizes['seconds']['TRL, compact']) / (ours + before):.2f}"]
        cells += [spread(flops(kind, sizes)), f"{sum(sizes['padded']) / sum(sizes['read']):.2f}"]
        yield row([*cells, f"{max(gaps):.1e}", f"{max(losses):.1e}"])


def with_reference(examples: Sequence[Any], model: Any) -> tuple[list[Any], float]:
    """The examples with what the policy says of them before it is trained, as TRL has it; and how long that took us."""
    from datatrial import reference_log_probs

    reference_log_probs.log_probs_of(model, examples[:2], lambda *_: None)  # once before it counts
    start = time.perf_counter()
    found = reference_log_probs.log_probs_of(model, examples, lambda *_: None)
    return reference_log_probs.with_reference(examples, found), time.perf_counter() - start


def race(sides: Sequence[Side], batches: Sequence[Any]) -> Any:
    """Each side on each batch, the order turning; ratios to ours, what differs, and what went through the models."""
    turns = cycle(range(len(sides)))
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    gaps, losses = [], []
    sizes: dict[str, Any] = {"seconds": seconds, "padded": [], "read": [], "shapes": []}
    for side in sides:  # once before it counts
        timed(side, batches[0])
    for batch in batches:
        first = next(turns)
        found = {}
        for side in [*sides[first:], *sides[:first]]:
            found[side.name] = timed(side, batch)
            seconds[side.name].append(found[side.name][0])
        gaps += [apart(found["ours"][2], found[side.name][2]) for side in sides[1:]]
        losses += [abs(found["ours"][1] - found[side.name][1]) for side in sides[1:]]
        measure(sides, batch, sizes)
    ratios = {side.name: [t / o for t, o in zip(seconds[side.name], seconds["ours"], strict=True)] for side in sides}
    return ratios, gaps, losses, sizes


def measure(sides: Sequence[Side], batch: Any, sizes: dict[str, Any]) -> None:
    """What of a batch goes through the layers: rows and their width, ours in parts."""
    from datatrial.training._parts import in_parts
    from datatrial.training._shared_prefixes import packed

    ours, theirs = sides[0].trainer, sides[1].trainer
    padded = theirs.data_collator(list(batch))
    scored = int(padded["completion_mask"].sum()) if "completion_mask" in padded else len(padded["input_ids"])
    parts = [ours.data_collator(part) for part in in_parts(list(batch), ours.tokens_of, ours.tokens_at_once)]
    hidden = ours.model.config.hidden_size
    read = [packed(part["input_ids"], part["attention_mask"], hidden).tokens.shape for part in parts]
    sizes["padded"].append(padded["input_ids"].numel())
    sizes["read"].append(sum(a * b for a, b in read))
    sizes["shapes"].append((tuple(padded["input_ids"].shape), read, scored))


def flops(kind: str, sizes: Mapping[str, Any]) -> list[float]:
    """TRL's FLOPs over ours for Llama 2 7B, of each batch; TRL's DPO also asks the reference."""
    from datatrial.estimates.compute import Rows, forward, training
    from datatrial.estimates.policies import published

    llama = published()["meta-llama/llama-2-7b-hf"]
    adapter = llama.adapter(8, "all-linear")
    found = []
    for (rows, width), read, scored in sizes["shapes"]:
        theirs = training(llama, Rows(rows, width, scored), 2, adapter, checkpointing=False).flops
        if kind == "dpo":
            theirs += forward(llama, Rows(rows, width, scored), 2).flops
        tokens = sum(a * b for a, b in read)
        parts = [Rows(a, b, scored * a * b / tokens) for a, b in read]
        found.append(theirs / sum(training(llama, part, 2, adapter, checkpointing=False).flops for part in parts))
    return found


def compare_sft(options: argparse.Namespace) -> Iterator[str]:
    import _likelihood_models as models
    from trl import SFTConfig, SFTTrainer

    from datatrial.training import _tokenized_sft

    folder = models.made(options.size, options.hub_root, options.work)
    _, tokenizer = models.loaded(folder)
    examples = examples_of(options, tokenizer, "demonstrations")
    yield from head(
        ["examples a batch", "examples", "against TRL", "against TRL's packing", "rows a batch", *SFT_COLUMNS]
    )
    for size in options.batch_sizes:
        used = examples[: size * options.batches]
        data = _tokenized_sft.rows(used, "answers")
        settings = {"output_dir": str(options.work / "out"), "max_length": options.max_length, **TRL}
        shared: dict[str, Any] = {"processing_class": tokenizer, "train_dataset": data}
        given = SFTConfig(**settings, dataset_kwargs={"skip_prepare_dataset": True})
        ours, theirs = (
            each(model=adapted(folder), args=given, **shared)
            for each in (_tokenized_sft.TokenizedSFTTrainer, SFTTrainer)
        )
        packing = SFTTrainer(
            model=adapted(folder), args=SFTConfig(**settings, packing=True, padding_free=True), **shared
        )
        sides = [Side("ours", ours, ours_of(ours, options)), Side("TRL, compact", theirs, theirs_of(theirs))]
        batches = [data.select(range(n, n + size)) for n in range(0, len(used), size)]
        ratios, gaps, losses, sizes = race(sides, batches)
        rounds, best = packed_rounds(packing, ours_of(ours, options), ours, batches)
        cells = [
            str(size),
            str(len(used)),
            f"**{told(sizes, ratios, 'TRL, compact')}**",
            f"**{spread(rounds)}**",
            str(best),
        ]
        cells += [spread(flops("sft", sizes)), f"{sum(sizes['padded']) / sum(sizes['read']):.2f}"]
        yield row([*cells, f"{max(gaps):.1e}", f"{max(losses):.1e}"])


SFT_COLUMNS = ["FLOPs of Llama 2 7B", "tokens padded / read", "gradients apart", "loss apart"]


def packed_rounds(packing: Any, step: Step, ours: Any, batches: Sequence[Any]) -> tuple[list[float], int]:
    """TRL's packing over ours, seconds for all examples, in alternating rounds; and its best number of rows a batch."""
    side = Side("packed", packing, theirs_of(packing))
    own = Side("ours", ours, step)

    def through(rows: int) -> float:
        data = packing.train_dataset
        starts = range(0, len(data), rows)
        return sum(timed(side, data.select(range(n, min(n + rows, len(data)))))[0] for n in starts)

    best = min((1, 2, 4), key=through)
    rounds = []
    for number in range(4):
        both: dict[str, float] = {}
        for name in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            both[name] = through(best) if name == "theirs" else sum(timed(own, batch)[0] for batch in batches)
        rounds.append(both["theirs"] / both["ours"])
    return rounds, best


def told(sizes: Mapping[str, Any], ratios: Mapping[str, Sequence[float]], side: str) -> str:
    together = sum(sizes["seconds"][side]) / sum(sizes["seconds"]["ours"])
    return f"{spread(ratios[side])}; all {together:.2f}"


def spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def head(columns: Sequence[str]) -> Iterator[str]:
    yield row(columns)
    yield "|---" * len(columns) + "|"


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="kind", required=True)
    for kind, sizes, longest in (("dpo", [4, 16], 512), ("reward", [4, 16], 512), ("sft", [8], 1024)):
        part = parts.add_parser(kind)
        part.add_argument("--batch-sizes", nargs="+", type=int, default=sizes)
        part.add_argument("--max-length", type=int, default=longest, help="tokens")
        part.add_argument("--batches", type=int, default=12)
        part.add_argument("--at-once", type=int, help="tokens of a part; by default what a stage takes on a CPU")
        part.add_argument("--size", default="25m", choices=["25m", "135m"])
        part.add_argument("--threads", type=int, default=1)
        root = os.environ.get("DATATRIAL_HUB_ROOT")
        part.add_argument("--hub-root", type=Path, default=root, required=root is None, help="a mirror of the hub")
        part.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "datatrial-likelihood")
        part.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    options = parse()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
    import torch

    torch.set_num_threads(options.threads)
    found = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    lines = [f"{date.today()}; {options.size} model, {options.threads} thread; {found}.", ""]
    for line in compare_sft(options) if options.kind == "sft" else compare_pairs(options.kind, options):
        lines.append(line)
        print(line, file=sys.stderr, flush=True)
        if options.out:  # as it grows
            options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
