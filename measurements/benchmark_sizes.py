"""How long the requests of stock benchmarks are: writes the packaged table that `datatrial plan` estimates from.

    python measurements/benchmark_sizes.py HUB_ROOT [--check]

HUB_ROOT is a mirror of the hub (org/name/…); half of a benchmark's rows will do, since only means are taken of them.
Numbers of items are those that the benchmarks' authors publish (`PUBLISHED`); lengths are counted here, in characters,
on the prompts that lm-eval itself makes. The groups of SafeNLP's sentences are counted in its whole file. No text is
kept.
With --check nothing is written: the differences from the table in the package are printed.
"""

import json
import math
import sys
from collections import Counter
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import lm_eval

import datatrial.estimates
from datatrial.evaluation import _harness
from datatrial.evaluation.lm_eval import LmEval
from datatrial.externals import Lock, Resolver
from datatrial.likelihood.trie import Request, Trie
from datatrial.records import Runtime

TABLE = Path(datatrial.estimates.__file__).parent / "benchmarks.json"
TASKS = ("arc_challenge", "piqa", "hellaswag", "toxigen", "truthfulqa_mc1", "truthfulqa_mc2", "mmlu")
SENTENCES = "microsoft/SafeNLP/data/toxiGen.json"
WINDOW = 32  # requests that lm-eval puts through a GPU together, the longest first

# Items of the split that lm-eval scores, as published: the ARC, PIQA, HellaSwag, ToxiGen and TruthfulQA papers and
# their pages on the hub; of MMLU, the test files of Hendrycks et al. (2021).
PUBLISHED = {
    "arc_challenge": 1172, "piqa": 1838, "hellaswag": 10042, "toxigen": 940, "truthfulqa_mc1": 817,
    "truthfulqa_mc2": 817,
    "mmlu_abstract_algebra": 100, "mmlu_anatomy": 135, "mmlu_astronomy": 152, "mmlu_business_ethics": 100,
    "mmlu_clinical_knowledge": 265, "mmlu_college_biology": 144, "mmlu_college_chemistry": 100,
    "mmlu_college_computer_science": 100, "mmlu_college_mathematics": 100, "mmlu_college_medicine": 173,
    "mmlu_college_physics": 102, "mmlu_computer_security": 100, "mmlu_conceptual_physics": 235,
    "mmlu_econometrics": 114, "mmlu_electrical_engineering": 145, "mmlu_elementary_mathematics": 378,
    "mmlu_formal_logic": 126, "mmlu_global_facts": 100, "mmlu_high_school_biology": 310,
    "mmlu_high_school_chemistry": 203, "mmlu_high_school_computer_science": 100,
    "mmlu_high_school_european_history": 165, "mmlu_high_school_geography": 198,
    "mmlu_high_school_government_and_politics": 193, "mmlu_high_school_macroeconomics": 390,
    "mmlu_high_school_mathematics": 270, "mmlu_high_school_microeconomics": 238, "mmlu_high_school_physics": 151,
    "mmlu_high_school_psychology": 545, "mmlu_high_school_statistics": 216, "mmlu_high_school_us_history": 204,
    "mmlu_high_school_world_history": 237, "mmlu_human_aging": 223, "mmlu_human_sexuality": 131,
    "mmlu_international_law": 121, "mmlu_jurisprudence": 108, "mmlu_logical_fallacies": 163,
    "mmlu_machine_learning": 112, "mmlu_management": 103, "mmlu_marketing": 234, "mmlu_medical_genetics": 100,
    "mmlu_miscellaneous": 783, "mmlu_moral_disputes": 346, "mmlu_moral_scenarios": 895, "mmlu_nutrition": 306,
    "mmlu_philosophy": 311, "mmlu_prehistory": 324, "mmlu_professional_accounting": 282,
    "mmlu_professional_law": 1534, "mmlu_professional_medicine": 272, "mmlu_professional_psychology": 612,
    "mmlu_public_relations": 110, "mmlu_security_studies": 245, "mmlu_sociology": 201, "mmlu_us_foreign_policy": 100,
    "mmlu_virology": 166, "mmlu_world_religions": 171,
}  # fmt: skip
CONTINUOUS = ("truthfulqa_mc2",)  # an item's score is a share, not right or wrong
assert sum(n for name, n in PUBLISHED.items() if name.startswith("mmlu_")) == 14042


def measured(task: Any) -> dict[str, float]:
    """Characters of one task's requests, and how many an item has."""
    docs = list(task.eval_docs)
    contexts = [task.doc_to_text(doc) for doc in docs]
    choices = [[f" {choice}" for choice in task.doc_to_choice(doc)] for doc in docs]
    flat = [choice for each in choices for choice in each]
    texts = [(context, choice) for context, each in zip(contexts, choices, strict=True) for choice in each]
    requests = [len(context) + len(choice) for context, choice in texts]
    trie = Trie.of([Request([*map(ord, context)], [*map(ord, choice)]) for context, choice in texts], max(requests))
    return {
        "items": PUBLISHED[task.config.task],
        **({"continuous": True} if task.config.task in CONTINUOUS else {}),
        "choices": round(fmean(map(len, choices)), 2),
        "context": round(fmean(map(len, contexts)), 1),
        "continuation": round(fmean(map(len, flat)), 1),
        "distinct": round(trie.distinct / len(docs), 1),
        "longest": round(fmean(sorted(requests)[-WINDOW:]), 0),
        "spread": round(pstdev(requests), 1),
        "counted": len(docs),
    }


def tasks(root: Path) -> dict[str, dict[str, float]]:
    resolver, found = Resolver(Lock(None), root), {}
    for name in TASKS:
        benchmark = LmEval(task=name)
        inputs = {key: resolver.resolve(need).locate() for key, need in benchmark.needs().items()}
        loaded = _harness.load(benchmark.tasks, inputs, None, Runtime())
        found.update({leaf: measured(task) for leaf, task in loaded.tasks.items()})
    return found


def sentences(path: Path) -> dict[str, Any]:
    """SafeNLP's sentences: their lengths, and how many of each group are harmful and benign.

    Groups share sentences. `mean` holds how many sentences of each kind would tell as much about the mean over groups
    if it were one group: 1 / Σ w², where w is what a sentence weighs in the mean, 1/(groups · sentences of its group)
    summed over its groups.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))
    kinds = {"harmful": [r for r in rows if r["label"] == "hate"], "benign": [r for r in rows if r["label"] != "hate"]}
    counts = {kind: Counter(g for r in of for g in _groups(r)) for kind, of in kinds.items()}
    groups = sorted(counts["harmful"] | counts["benign"])
    mean = {}
    for kind, of in kinds.items():
        weights = [sum(1 / (len(groups) * counts[kind][g]) for g in _groups(row)) for row in of]
        mean[kind] = round(1 / math.fsum(w * w for w in weights))
    lengths = [len(row["text"]) for row in rows]
    trie = Trie.of([Request([], [*map(ord, row["text"])]) for row in rows], max(lengths))
    return {
        "items": len(rows),
        "context": round(fmean(lengths), 1),
        "distinct": round(trie.distinct / len(rows), 1),
        "longest": round(fmean(sorted(lengths)[-WINDOW:]), 0),
        "spread": round(pstdev(lengths), 1),
        "groups": {g: {kind: counts[kind][g] for kind in kinds} for g in groups},
        "mean": mean,
    }


def _groups(row: dict[str, Any]) -> list[str]:
    named = row["target_groups"]
    return sorted(set(named if isinstance(named, list) else [named]))


def main(root: Path, check: bool) -> None:
    table = {
        "about": "Written by measurements/benchmark_sizes.py. Items as published; lengths in characters, counted on "
        f"half of each benchmark's rows as lm-eval {lm_eval.__version__} puts them (`counted`).",
        "tasks": tasks(root),
        "statements": {"safenlp": sentences(root / SENTENCES)},
    }
    if check:
        old = json.loads(TABLE.read_text())
        print("the table in the package is what is measured" if old == table else "the table in the package differs")
        return
    lines = [f'  "{name}": {json.dumps(row)}' for name, row in table["tasks"].items()]
    head, last = json.dumps(table["about"]), json.dumps(table["statements"], indent=1)
    body = ",\n".join(lines)
    TABLE.write_text(f'{{\n "about": {head},\n "tasks": {{\n{body}\n }},\n "statements": {last}\n}}\n')
    print(f"wrote {len(lines)} tasks to {TABLE}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), "--check" in sys.argv)
