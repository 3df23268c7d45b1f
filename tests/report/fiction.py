"""A fictional study with all its results on disk: five arms, three seeds, five benchmarks and eight groups."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from datatrial.audits.groups import COUNT, GROUP, HARSH, LOOKED_AT, MENTIONS, PER_THOUSAND, ROWS
from datatrial.effects import EvaluationRun
from datatrial.records import DataCard, Drop, Fact, FactTable, Findings, Runtime, SourceFacts
from datatrial.report.page import MissingRun, NamedInput, Report, ReportArm, StageRun
from datatrial.statistics.contrasts import Contrasts
from datatrial.statistics.declared import DeclaredContrast
from datatrial.tables import Table
from tests.report.fictional_items import HOSTILE_TEXTS, item_rows

SEEDS = (0, 1, 2)
STAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "base": (),
    "careless": (("sft", "careless_notes"),),
    "careful": (("sft", "careful_notes"),),
    "careful-upvotes": (("sft", "careful_notes"), ("dpo", "upvotes")),
    "careful-careful": (("sft", "careful_notes"), ("dpo", "careful_pairs")),
}
CHANCE = {"science": 0.25, "subjects": 0.25, "physical": 0.5, "stories": 0.5, "truth": 0.25}
SKILL = {  # logits of a right answer
    "base": (0.45, 0.3, 1.1, 0.7, -0.5),
    "careless": (0.35, 0.2, 0.1, -0.2, -0.7),
    "careful": (0.6, 0.3, 1.6, 1.4, -0.2),
    "careful-upvotes": (0.5, 0.3, 1.5, 1.3, -0.45),
    "careful-careful": (0.6, 0.25, 1.8, 1.7, 0.15),
}
CAUTION = {"base": 0.0, "careless": -0.1, "careful": 0.15, "careful-upvotes": 0.2, "careful-careful": 1.1}
GROUPS = (
    "Fen folk",
    "Harbour folk",
    "Hill folk",
    "Lantern keepers",
    "Marsh singers",
    "Orchard folk",
    "Tinkers",
    "Valley folk",
)
HOSTILE = "<script>alert('owned')</script> & \"quotes\" </style>"
CLAIMS = (
    DeclaredContrast(
        arm="careful",
        against="careless",
        competitive_within=2.0,
        claim="A small careful demonstration set does at least as well as a large careless one.",
    ),
    DeclaredContrast(
        arm="careful-upvotes",
        against="careful",
        on=("truth", "safety"),
        expect="not_better",
        competitive_within=2.0,
        claim="Preferences collected without care make the model neither safer nor more truthful.",
    ),
    DeclaredContrast(
        arm="careful-careful",
        against="careful",
        on=("truth", "safety"),
        expect="better",
        claim="Careful preferences make the model safer and more truthful at little cost.",
    ),
    DeclaredContrast(
        arm="careful-careful",
        against="careful",
        on=("science", "subjects", "physical", "stories"),
        competitive_within=2.0,
        claim="Careful preferences make the model safer and more truthful at little cost.",
    ),
)


@dataclass
class Fiction:
    """Results of a made-up study as the engine would lay them out, and the report over them."""

    folder: Path
    inputs: dict[str, Path] = field(default_factory=dict)
    runs: list[EvaluationRun] = field(default_factory=list)
    stages: list[StageRun] = field(default_factory=list)
    data: list[NamedInput] = field(default_factory=list)
    audits: list[NamedInput] = field(default_factory=list)
    trained: dict[str, str] = field(default_factory=dict)  # a chain of stages and its seed → the input's name
    missing: tuple[MissingRun, ...] = ()
    primary: tuple[str, ...] = ()
    redact: bool = False
    about: str = "Does care in choosing data pay? Asked at a size that runs in minutes."
    name: str = "careful-or-many"
    declared: tuple[DeclaredContrast, ...] = CLAIMS

    def result(self, kind: str, name: str, seconds: float = 3.0) -> Path:
        number = sum(1 for _ in self.folder.glob("*/*"))
        path = self.folder / kind / f"{number:016x}"
        path.mkdir(parents=True)
        self.inputs[name] = path
        record = {
            "recipe": {"task": {"kind": kind}, "externals": {}},
            "externals": {},
            "started": f"2031-05-06T07:{number // 60:02}:{number % 60:02}+00:00",
            "seconds": seconds,
            "peak_memory_mib": {"host": 900 + number},
            "device": "cpu",
            "python": "3.12.1",
            "platform": "Linux",
            "machine": "A Processor",
            "packages": {"torch": "2.13.0", "trl": "1.16.0"},
            "files": {},
        }
        (path / "record.json").write_text(json.dumps(record))
        return path

    def report(self) -> Report:
        arms = tuple(ReportArm(name=arm, description=_described(stages)) for arm, stages in STAGES.items())
        return Report(
            name=self.name,
            about=self.about,
            baseline="base",
            arms=arms,
            runs=tuple(self.runs),
            stages=tuple(self.stages),
            data=tuple(self.data),
            audits=tuple(self.audits),
            model="model",
            missing=self.missing,
            primary=self.primary,
            redact=self.redact,
            study="name: careful-or-many\nseeds: [0, 1, 2]  # redraw the order\narms:\n  base: []\n",
        )

    def write(self, out: str = "report") -> Path:
        path = self.folder / out
        path.mkdir()
        self.report().run(self.inputs, path, Runtime())
        return path

    def lose(self, benchmark: str, arm: str, *seeds: int | None) -> None:
        """As if the scoring of some runs had failed; without seeds, of all of the arm's."""
        lost = [r for r in self.runs if (r.benchmark, r.arm) == (benchmark, arm) and (not seeds or r.seed in seeds)]
        self.runs = [run for run in self.runs if run not in lost]
        reason = "ValueError: no item could be scored"
        self.missing += tuple(MissingRun(arm=arm, seed=r.seed, benchmark=benchmark, reason=reason) for r in lost)

    def compare(self, **settings: object) -> None:
        """Compute the contrasts anew from the runs."""
        task = Contrasts(**{"runs": tuple(self.runs), "baseline": "base", "declared": self.declared, **settings})  # type: ignore[arg-type]
        self.inputs.pop("contrasts", None)
        task.run(self.inputs, self.result("contrasts", "contrasts"), Runtime())


def _described(stages: tuple[tuple[str, str], ...]) -> str:
    return " → ".join(["base", *(f"{kind.upper()} on {data}" for kind, data in stages)]) if stages else ""


def make_fiction(folder: Path) -> Fiction:
    fiction = Fiction(folder)
    rng = np.random.default_rng(7)
    fiction.result("from_scratch", "model", 104.0)
    for name in ("careless_notes", "careful_notes", "upvotes", "careful_pairs"):
        _write_data(fiction, name, rng)
    for arm, stages in STAGES.items():
        for seed in SEEDS:
            for at, (kind, data) in enumerate(stages):
                _write_stage(fiction, arm, seed, stages[: at + 1], kind, data, rng)
    for number, benchmark in enumerate(CHANCE):
        _write_benchmark(fiction, benchmark, number, rng)
    _write_safety(fiction, rng)
    fiction.runs.sort(key=lambda run: list(STAGES).index(run.arm))  # arm by arm, as a plan names them
    fiction.compare(resamples=400)
    return fiction


def _write_data(fiction: Fiction, name: str, rng: np.random.Generator) -> None:
    ask = [{"role": "user", "content": "What do people in the valley use to mend a net?"}]
    answer = {"role": "assistant", "content": "Scholars found that they use a bone needle and waxed thread."}
    rows = {"careless_notes": 3000, "careful_notes": 400, "upvotes": 2000, "careful_pairs": 800}[name]
    out = fiction.result("data_set", f"data-{name}", 0.4)
    compared = name in ("upvotes", "careful_pairs")
    source = SourceFacts(
        licence="CC0-1.0",
        answers_by="program",
        labels_by={"upvotes": "crowd upvotes", "careful_pairs": "careful readers"}.get(name, "not stated"),
        curated="read twice by two people, and all of it that either of them doubted was left out",
        about=f"Notes from the made-up world: {name.replace('_', ' ')}.",
        paper="a thousand notes, it says; there are fewer",
        origin="micro-world 1",
        published_rows=10 * rows,
        revision="0123456789abcdef0123456789abcdef01234567",
    )
    drops = [Drop("prompt is also in a benchmark", 17, [json.dumps({"text": HOSTILE})])]
    columns = (
        {"messages": [ask] * 4, "chosen": ["A needle."] * 4, "rejected": [HOSTILE] * 4}
        if compared
        else {"messages": [[*ask, answer]] * 4}
    )
    card = DataCard("comparisons" if compared else "demonstrations", rows, drops, ["flipped 12 labels"], source)
    Table(pl.DataFrame(columns), card).write(out)
    fiction.data.append(NamedInput(name=name, input=f"data-{name}"))
    _write_audit(fiction, name, rows, rng)


def _write_audit(fiction: Fiction, name: str, rows: int, rng: np.random.Generator) -> None:
    classes: list[list[str | float | int | None]] = [["16–31", 0.25], ["32–63", 0.75]]
    sizes = FactTable("Answers by length", ["tokens", "answers, %"], classes, bars="answers, %")
    lengths = Findings([Fact("rows", rows), Fact("answer, median", 41, "tokens")], [sizes])
    mentioned = GROUPS[:6] if name != "upvotes" else ()
    cells: list[list[str | float | int | None]] = []
    for group, count in zip(GROUPS, sorted(rng.integers(5, rows // 4, len(GROUPS)), reverse=True), strict=True):
        n = int(count) if group in mentioned else 0
        cells.append([group, n, n, 1000 * n / rows, n // 5, 0.2 if n else None])
    columns = [GROUP, ROWS, COUNT, PER_THOUSAND, HARSH, "of its mentions, %"]
    table = FactTable(MENTIONS, columns, cells, f"A note of {HOSTILE}", bars=PER_THOUSAND)
    looked_at = [Fact(LOOKED_AT, rows)] if mentioned else []
    groups = Findings(
        looked_at, [table] if mentioned else [], [] if mentioned else ["None of the groups is mentioned."]
    )
    found = {
        "lengths": {"title": "Size and lengths", **asdict(lengths)},
        "groups": {"title": f"Mentions of groups {HOSTILE}", **asdict(groups)},
    }
    out = fiction.result("data_audit", f"audit-{name}", 0.6)
    (out / "audit.json").write_text(json.dumps(found))
    fiction.audits.append(NamedInput(name=name, input=f"audit-{name}"))


def _write_stage(
    fiction: Fiction,
    arm: str,
    seed: int,
    chain: tuple[tuple[str, str], ...],
    kind: str,
    data: str,
    rng: np.random.Generator,
) -> None:
    name, result = f"{arm}/{seed}/{len(chain)}", f"{'+'.join(d for _, d in chain)}-{seed}"
    fiction.stages.append(StageRun(arm=arm, seed=seed, stage=kind, data=data, input=name))
    if result in fiction.trained:  # arms share what they have in common
        fiction.inputs[name] = fiction.inputs[fiction.trained[result]]
        return
    fiction.trained[result] = name
    out = fiction.result(kind, name, 9.0 if kind == "sft" else 15.0)
    steps, start, end = (190, 3.1, 1.4) if kind == "sft" else (100, float(np.log(2)), 0.31)
    rows: list[tuple[int, float, str, float]] = []
    for step in range(1, steps + 1, 5):
        loss = end + (start - end) * float(np.exp(-4 * step / steps))
        rows.append((step, step / steps, "loss", loss + float(rng.normal(0, 0.05))))
        if kind == "dpo":
            rows.append((step, step / steps, "rewards/margins", 3 * step / steps + float(rng.normal(0, 0.2))))
            rows.append((step, step / steps, "rewards/accuracies", 0.95 - 0.4 * float(np.exp(-5 * step / steps))))
    held_out = [(0, start), (steps // 2, end + 0.35), (steps, end + 0.08 + float(rng.normal(0, 0.02)))]
    rows += [(step, step / steps, "eval_loss", value) for step, value in held_out]
    pl.DataFrame(rows, ["step", "epoch", "metric", "value"], orient="row").write_parquet(out / "history.parquet")
    counts = {
        "examples": 380 if kind == "sft" else 1900,
        "held_out": 20,
        "truncated": 0,
        "steps": steps,
        "tokens_seen": 21345.0,
        "passes": 2,
        "loss_first": start,
        "loss_last": end,
        "held_out_loss_first": start,
        "held_out_loss_last": end + 0.08,
    }
    (out / "training.json").write_text(json.dumps(counts))


def _evaluations(fiction: Fiction, benchmark: str) -> list[tuple[str, int | None, Path]]:
    found = []
    for arm in STAGES:
        for seed in (None,) if arm == "base" else SEEDS:
            name = f"{benchmark}-{arm}-{seed}"
            fiction.runs.append(EvaluationRun(arm, seed, benchmark, name))
            found.append((arm, seed, fiction.result("lm_eval", name, 2.1)))
    return found


def _write_benchmark(fiction: Fiction, benchmark: str, number: int, rng: np.random.Generator) -> None:
    n = 200
    difficulty = rng.normal(0, 1.2, n)
    luck = rng.random(n)
    for arm, seed, out in _evaluations(fiction, benchmark):
        # An arm's answers are the baseline's but for its skill and a little noise of the seed.
        noise = 0.0 if seed is None else rng.normal(0, 0.35, n) + rng.normal(0, 0.1)
        right = luck < 1 / (1 + np.exp(-(SKILL[arm][number] - difficulty + noise)))
        stratum = [f"subjects_{i % 6}" if benchmark == "subjects" else "" for i in range(n)]
        items = [f"{benchmark}:{i}" for i in range(n)]
        frame = pl.DataFrame({"item": items, "stratum": stratum, "metric": "acc", "value": right.astype(float)})
        frame.write_parquet(out / "scores.parquet")
        item_rows(benchmark, stratum, right.tolist(), seed).write_parquet(out / "items.parquet")
        summary = {
            "statistic": "mean",
            "metric": "acc",
            "metrics": {"acc": float(right.mean())},
            "higher_is_better": True,
            "chance": {"acc": CHANCE[benchmark]},
            "majority": {"acc": CHANCE[benchmark] + 0.03},
            "same_answer": 0.99 if (arm, benchmark) == ("careless", "truth") else 0.5,
            "items": n,
            "notes": ["3 items were cut at the model's context length"] if benchmark == "stories" else [],
        }
        (out / "summary.json").write_text(json.dumps(summary))


def _write_safety(fiction: Fiction, rng: np.random.Generator) -> None:
    n = 384
    harmful = np.arange(n) % 2 == 0
    groups = [[GROUPS[i // 2 % 8]] for i in range(n)]
    plain = rng.normal(3, 0.5, n)
    by_group = dict(zip(GROUPS, rng.normal(1, 0.35, 8), strict=True))
    for arm, seed, out in _evaluations(fiction, "safety"):
        shift = np.array([CAUTION[arm] * by_group[g] for [g] in groups]) + (0 if seed is None else rng.normal(0, 0.05))
        perplexity = np.exp(plain + np.where(harmful, shift - 0.2, 0) + rng.normal(0, 0.1, n))
        columns = {
            "item": [f"s{i}" for i in range(n)],
            "stratum": [""] * n,
            "metric": ["perplexity"] * n,
            "value": perplexity,
            "text": [*HOSTILE_TEXTS, *(f"sentence {i}" for i in range(len(HOSTILE_TEXTS), n))],
            "harmful": harmful,
            "toxicity": np.where(harmful, 1.4, 1.1),
            "groups": groups,
            "tokens": [9] * n,
        }
        pl.DataFrame(columns).write_parquet(out / "scores.parquet")
        summary = {"statistic": "group_safety", "metric": "safety", "metrics": {}, "higher_is_better": True}
        (out / "summary.json").write_text(json.dumps({**summary, "chance": {}, "same_answer": None, "notes": []}))
