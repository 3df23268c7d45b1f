"""Scoring on a GPU: ours beside lm-eval's `hf`, alternating, by a 7B-shaped Llama with random weights.

    python measurements/gpu.py requests FILE --hub-root MIRROR [--items 100] [--subjects 6]
    python measurements/gpu.py score FILE [--weights bfloat16 nf4] [--shape 7b] [--rounds 3] [--out OUT.md]
    python measurements/gpu.py rows FILE --hub-root MIRROR [--items 256]
    python measurements/gpu.py train FILE [--weights bfloat16 nf4] [--stages sft dpo] [--memory GIB] [--out OUT.md]
        [--trl torch_compile=true use_liger_kernel=true optim=paged_adamw_8bit]

`requests` writes what the stock benchmarks ask, in tokens, to a file (JSON, gzipped), where the rows of a mirror are;
`score` needs nothing but that file and the libraries, and runs where the GPU is. The vocabulary is 32,000 tokens, as
Llama 2's, by a tokenizer trained on the rows. `hf` runs at its best batch size of 1…64, found on a part of each
benchmark; its softmax is in float32, as ours is. Times include building our trie; memory is PyTorch's peak beyond the
weights.

`rows` writes HH-RLHF's pairs and LIMA's demonstrations as token ids; `train` makes steps on them with the paper's LoRA
(rank 8, queries and values, 1,024 tokens): ours, and TRL as its defaults have it (padded batches, gradient
checkpointing, and in DPO a reference asked in each step; ours has asked before). Tokens a second are those of all
texts without padding. Utilization is of the device's peak in 16 bits, by what LoRA needs: four FLOPs for each
parameter of the blocks and each token that has to be read (a prompt once), and for each of the head and each token of
an answer. Memory is PyTorch's peak, weights included; `--memory` says what ours may reckon with, as on a smaller one.
`--trl` gives ours further settings of TRL, to find out what a library's kernels are worth.
"""

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import _gpu_training
import torch

from datatrial.likelihood.scorer import Scorer
from datatrial.likelihood.trie import Request as Asked
from datatrial.likelihood.trie import Trie

LONGEST = 4096  # tokens that the model reads
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
LIBRARIES = ("torch", "transformers", "lm_eval", "bitsandbytes", "peft")
_TRIED = 64  # documents that batch sizes are tried on
SHAPES: dict[str, dict[str, Any]] = {
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
}
COLUMNS = ["benchmark", "items", "tokens asked", "distinct", "ours, s", "hf, s (batch)", "faster by"]
COLUMNS += ["ours, GiB", "hf, GiB", "Δ, nats: median", "largest", "greedy ≠", "hf beside itself at another batch: ≠"]

Request = tuple[list[int], list[int]]  # context and continuation
Answer = tuple[float, bool]


def write_requests(options: argparse.Namespace) -> None:
    import _likelihood_models as models
    import _likelihood_requests as asked

    model, tokenizer = models.loaded(models.made("25m", options.hub_root, options.work))
    where = options.hub_root, options.work, options.items, options.subjects
    found = {}
    for name, benchmark in asked.BENCHMARKS.items():
        questions = asked.questions(benchmark, model, tokenizer, *where)
        documents = [[(c, k) for _, c, k in questions.requests[span]] for span in questions.spans]
        found[name] = {"title": benchmark.title, "documents": documents}
        print(f"{benchmark.title}: {len(documents)} documents, {len(questions.requests)} requests", file=sys.stderr)
    with gzip.open(options.file, "wt") as out:
        json.dump(found, out)


@dataclass(frozen=True)
class Ran:
    """What a side took and said."""

    seconds: float
    memory: float  # bytes beyond the weights, at the peak
    answers: list[Answer]


def ran(run: Callable[[], list[Answer]]) -> Ran:
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if gpu else 0
    start = time.perf_counter()
    answers = run()  # which come as Python's numbers, so that the GPU is done
    seconds = time.perf_counter() - start
    return Ran(seconds, (torch.cuda.max_memory_allocated() if gpu else 0) - before, answers)


def model_of(shape: str, weights: str, folder: Path) -> Any:
    """A Llama with random weights on the GPU, or on a CPU where there is none."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        config = LlamaConfig(
            **SHAPES[shape], vocab_size=32_000, max_position_embeddings=LONGEST, initializer_range=0.02
        )
        with torch.device(device):
            made = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        made.save_pretrained(folder)
        del made
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    settings = {"quantization_config": quantized} if weights == "nf4" else {}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map={"": device}, **settings)
    return model.eval().requires_grad_(False)


def backend(model: Any) -> Any:
    """lm-eval's `hf`, with a tokenizer of which it asks for a padding token only."""
    from lm_eval.models.huggingface import HFLM
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="</s>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    return HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        backend="causal",
        batch_size=1,
        max_length=LONGEST,
        softmax_dtype="float32",
    )


def theirs(lm: Any, requests: Sequence[Request], size: int) -> Ran:
    lm.batch_size_per_gpu = size
    # It looks requests up by their text in its cache: any that are not alike will do.
    named = [((str(number), ""), *request) for number, request in enumerate(requests)]
    return ran(lambda: lm._loglikelihood_tokens(named, disable_tqdm=True))


def trie_of(requests: Sequence[Request]) -> Trie:
    return Trie.of([Asked(*request) for request in requests], LONGEST)


def ours(scorer: Any, requests: Sequence[Request]) -> Ran:
    def run() -> list[Answer]:
        trie = trie_of(requests)
        found = scorer.score(trie, len(requests), lambda *_: None)
        return list(zip(found.log_likelihood.tolist(), found.greedy.tolist(), strict=True))

    return ran(run)


def best_batch_size(lm: Any, documents: Sequence[Sequence[Request]]) -> int:
    """The fastest on documents evenly spaced by length, among those that memory suffices for."""
    by_length = sorted(documents, key=lambda document: sum(len(c) + len(k) for c, k in document))
    count = min(_TRIED, len(by_length))
    tried = [request for n in range(count) for request in by_length[int((n + 0.5) * len(by_length) / count)]]
    seconds: dict[int, float] = {}
    for size in BATCH_SIZES:
        try:
            seconds[size] = min(theirs(lm, tried, size).seconds for _ in range(2))
        except torch.OutOfMemoryError:
            break
    return min(seconds, key=seconds.__getitem__)


def row(name: str, documents: Sequence[Sequence[Request]], lm: Any, scorer: Any, rounds: int) -> tuple[str, float]:
    """A line of the table, and how much faster ours is."""
    requests = [request for document in documents for request in document]
    trie = trie_of(requests)
    size = best_batch_size(lm, documents)
    own: list[Ran] = []
    hf: list[Ran] = []
    for number in range(rounds):
        for side in ("ours", "hf") if number % 2 else ("hf", "ours"):
            if side == "ours":
                own.append(ours(scorer, requests))
            else:
                hf.append(theirs(lm, requests, size))
    other = theirs(lm, requests, 1 if size > 1 else 2)
    ratios = [a.seconds / b.seconds for a, b in zip(hf, own, strict=True)]
    differences = [abs(a - b) for (a, _), (b, _) in zip(hf[0].answers, own[0].answers, strict=True)]
    cells = [
        name,
        f"{len(documents):,}",
        f"{trie.total:,}",
        f"{trie.distinct:,}",
        spread([one.seconds for one in own]),
        f"{spread([one.seconds for one in hf])} ({size})",
        f"**{spread(ratios)}**",
        f"{max(one.memory for one in own) / 2**30:.1f}",
        f"{max(one.memory for one in hf) / 2**30:.1f}",
        f"{median(differences):.1e}",
        f"{max(differences):.1e}",
        str(unlike(hf[0].answers, own[0].answers)),
        str(unlike(hf[0].answers, other.answers)),
    ]
    return f"| {' | '.join(cells)} |", median(ratios)


def unlike(one: Sequence[Answer], other: Sequence[Answer]) -> int:
    return sum(a != b for (_, a), (_, b) in zip(one, other, strict=True))


def spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def score(options: argparse.Namespace) -> None:
    os.environ.setdefault("TQDM_DISABLE", "1")
    with gzip.open(options.file, "rt") as file:
        asked = json.load(file)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    lines = [f"{date.today()}; {device}; " + ", ".join(f"{name} {installed(name)}" for name in LIBRARIES) + ".", ""]
    for weights in options.weights:
        model = model_of(options.shape, weights, options.work / options.shape)
        scorer, lm = Scorer(model), backend(model)
        head = f"{options.shape} Llama, random weights, {weights}; method {scorer.method.name}, {scorer.budget}"
        lines += [f"## {head}", "", *scorer.notes, f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        ratios = []
        for name in options.only or asked:
            line, ratio = row(asked[name]["title"], asked[name]["documents"], lm, scorer, options.rounds)
            ratios.append(ratio)
            lines.append(line)
            print(line, file=sys.stderr, flush=True)
            if options.out:  # a lease may end at any time
                options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
        lines += ["", f"Geometric mean: {geometric_mean(ratios):.2f} times as fast.", ""]
        del model, scorer, lm
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def installed(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"


def train(options: argparse.Namespace) -> None:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    told = f"{date.today()}; {device}; " + ", ".join(f"{name} {installed(name)}" for name in (*LIBRARIES, "trl")) + "."
    lines = [told, "", *_gpu_training.report(options, model_of)]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    for name, run in (("requests", write_requests), ("score", score)):
        part = parts.add_parser(name)
        part.set_defaults(run=run)
        part.add_argument("file", type=Path)
        part.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "datatrial-gpu")
        if name == "requests":
            root = os.environ.get("DATATRIAL_HUB_ROOT")
            part.add_argument("--hub-root", type=Path, default=root, required=root is None, help="a mirror of the hub")
            part.add_argument("--items", type=int, default=100, help="of each task")
            part.add_argument("--subjects", type=int, default=6, help="of MMLU's, evenly spaced by size")
        else:
            part.add_argument("--weights", nargs="+", choices=["bfloat16", "nf4"], default=["bfloat16", "nf4"])
            part.add_argument("--shape", choices=list(SHAPES), default="7b")
            part.add_argument("--only", nargs="+", help="some of the benchmarks")
            part.add_argument("--rounds", type=int, default=3)
            part.add_argument("--out", type=Path)
    work = Path(tempfile.gettempdir()) / "datatrial-gpu"
    _gpu_training.add_commands(parts, train, os.environ.get("DATATRIAL_HUB_ROOT"), work)
    return parser.parse_args()


def main() -> None:
    options = parse()
    options.work.mkdir(parents=True, exist_ok=True)
    options.run(options)


if __name__ == "__main__":
    main()
