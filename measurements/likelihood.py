"""Log-likelihoods at the cost of the distinct tokens: ours beside the peers, alternating, on the rows of a mirror.

    python measurements/likelihood.py benchmarks [--sizes 25m 135m] [--threads 1 2] [--only piqa arc-25 …]
    python measurements/likelihood.py safety
    python measurements/likelihood.py equality [--dtype bfloat16]
    python measurements/likelihood.py end-to-end [--only zero-shot leaderboard six-arms]

`benchmarks` times the log-likelihoods alone: requests and tokens are lm-eval's and made before. lm-eval's `hf` runs at
its best batch size of 1…64 for that benchmark, size and number of threads, found on a part of the requests and kept in
the work folder (sizes whose logits and their softmax do not fit into --memory are left out); ours builds trie and
layout within its time. The bound is the floating-point operations of the distinct tokens, of their attention to what
they see and of the needed logits, at the best rate that plain forward passes with all logits reach at any shape, taken
anew beside each round; "by parts", with the body's operations at the body's own best rate and the head's at the
head's: heads are single large products, which run at a higher rate than the body ever does.

`safety` times group safety's perplexities against SafeNLP's loop, which scores one sentence at a time. `equality`
compares what ours and `hf` say of each item, from the texts on. `end-to-end` runs the `lm_eval` command, at its best
batch size for all six benchmarks, and `datatrial run` with one worker on the same models, benchmarks and rows, each a
process of its own; `lm_eval` has its caches warm, `datatrial` a new store.

Models have random weights, tokenizers are trained on the mirror's rows; both are made in the work folder once. Prints
tables in Markdown, and on standard error as they grow.
"""

import argparse
import logging
import os
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import gettempdir

LIBRARIES = ("datatrial", "lm_eval", "torch", "transformers", "peft", "tokenizers")
SIX = ("arc", "piqa", "hellaswag", "mmlu", "toxigen", "truthfulqa")
GIB = 2**30


def benchmarks(options: argparse.Namespace) -> list[str]:
    from _likelihood_benchmarks import Settings, report
    from _likelihood_requests import BENCHMARKS

    lines = []
    for size in options.sizes:
        for threads in options.threads:
            settings = Settings(
                size=size,
                threads=threads,
                hub_root=options.hub_root,
                work=options.work,
                items=options.items,
                subjects=options.subjects or None,
                rounds=options.rounds,
                memory=options.memory * GIB,
                peer=not options.without_peer,
            )
            lines += report(settings, options.only or list(BENCHMARKS))
    return lines


def safety(options: argparse.Namespace) -> list[str]:
    from _likelihood_safety import report

    runs = [(size, threads) for size in options.sizes for threads in options.threads]
    return [
        line
        for size, threads in runs
        for line in report(size, threads, options.hub_root, options.work, options.items, options.rounds)
    ]


def equality(options: argparse.Namespace) -> list[str]:
    import torch
    from _likelihood_equality import report

    torch.set_num_threads(options.threads[0])
    where = options.hub_root, options.work
    return [
        line
        for size in options.sizes
        for line in report(
            size, options.only or SIX, *where, options.items, options.subjects or None, options.dtype == "bfloat16"
        )
    ]


def end_to_end(options: argparse.Namespace) -> list[str]:
    from _likelihood_end_to_end import SCENARIOS, Setting, adapters, best_batch_size, report
    from _likelihood_models import made

    lines = []
    for size in options.sizes:
        for name in options.only or SCENARIOS:
            folder, asked = made(size, options.hub_root, options.work), SIX
            if name == "leaderboard":
                asked = ("arc-25", "piqa", "hellaswag-10", "mmlu-5", "toxigen", "truthfulqa")
            threads = options.threads[0]
            of_peer = options.batch_size or best_batch_size(
                asked, size, options.hub_root, options.work, threads, options.memory * GIB
            )
            setting = Setting(
                model=folder,
                adapters=adapters(folder, options.work, 6),
                hub_root=options.hub_root,
                work=options.work,
                threads=threads,
                batch_size=of_peer,
                items=options.items,
            )
            lines += report(name, setting, options.rounds, options.commands)
    return lines


def _shared(parser: argparse.ArgumentParser, rounds: int) -> None:
    root = os.environ.get("DATATRIAL_HUB_ROOT")
    parser.add_argument("--hub-root", type=Path, default=root, required=root is None, help="a mirror of the hub")
    parser.add_argument("--work", type=Path, default=Path(gettempdir()) / "datatrial-likelihood")
    parser.add_argument("--sizes", nargs="+", choices=["25m", "135m"], default=["25m"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--items", type=int, help="so many of each task only")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--out", type=Path, help="a file to write the tables to as well")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True, dest="part")
    part = parts.add_parser("benchmarks", help="log-likelihoods of stock benchmarks, against lm-eval's `hf`")
    _shared(part, rounds=5)
    part.add_argument("--only", nargs="+", help="some of the benchmarks")
    part.add_argument("--subjects", type=int, default=6, help="of MMLU's, evenly spaced by size; 0: all")
    part.add_argument("--memory", type=float, default=8, help="GiB that lm-eval's logits and their softmax may take")
    part.add_argument("--without-peer", action="store_true", help="ours and the bound only")
    part.set_defaults(run=benchmarks)
    part = parts.add_parser("safety", help="perplexities of sentences, against SafeNLP's loop")
    _shared(part, rounds=5)
    part.set_defaults(run=safety)
    part = parts.add_parser("equality", help="what ours and `hf` say of each item")
    _shared(part, rounds=1)
    part.add_argument("--only", nargs="+", help="some of the benchmarks")
    part.add_argument("--subjects", type=int, default=0, help="of MMLU's, evenly spaced by size; 0: all")
    part.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    part.set_defaults(run=equality)
    part = parts.add_parser("end-to-end", help="`datatrial run` against the `lm_eval` command")
    _shared(part, rounds=3)
    part.add_argument("--only", nargs="+", help="some of the scenarios")
    part.add_argument("--commands", type=int, default=6, help="of the six `lm_eval` commands, how many are run")
    part.add_argument("--batch-size", type=int, help="of lm-eval; tried out where left out")
    part.add_argument("--memory", type=float, default=8, help="GiB that lm-eval's logits and their softmax may take")
    part.set_defaults(run=end_to_end)
    return parser.parse_args()


def _quiet() -> None:
    """Keep libraries from showing how far they are, and from warning of what is meant."""
    os.environ["TQDM_DISABLE"] = "1"  # before tqdm is imported
    import datasets
    import transformers

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()


def main() -> None:
    options = parse()
    _quiet()
    options.hub_root, options.work = Path(options.hub_root).absolute(), options.work.absolute()
    options.work.mkdir(parents=True, exist_ok=True)
    lines = options.run(options)
    about = f"{date.today()}; {os.cpu_count()} cores, load at the end {' '.join(f'{p:.1f}' for p in os.getloadavg())}; "
    about += ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    text = "\n".join([about + ".", "", *lines])
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
