"""The `lm_eval` command against `datatrial run`, from the start of the process to the results."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml
from _likelihood_benchmarks import note, spread

from datatrial.trial import results_of

TASKS = ("arc_challenge", "piqa", "hellaswag", "mmlu", "toxigen", "truthfulqa_mc2")
LEADERBOARD = {"arc_challenge": 25, "hellaswag": 10, "mmlu": 5}  # examples shown before each question
GROUP = "six_benchmarks"


class Scenario(NamedTuple):
    """What is asked of how many arms; the ratio that the issue asks for."""

    title: str
    shots: Mapping[str, int]
    arms: int
    goal: float


SCENARIOS = {
    "zero-shot": Scenario("one arm, zero-shot", {}, 1, 2.5),
    "leaderboard": Scenario("one arm, the leaderboard's shots", LEADERBOARD, 1, 5),
    "six-arms": Scenario("six arms, zero-shot", {}, 6, 6),
}


@dataclass(frozen=True)
class Setting:
    """What all runs have in common."""

    model: Path
    adapters: tuple[Path, ...]  # an arm each
    hub_root: Path
    work: Path
    threads: int
    batch_size: int  # of lm-eval
    items: int | None


@dataclass
class Ran:
    """What a side took and said."""

    seconds: float = 0.0
    cpu: float = 0.0
    metrics: dict[tuple[int, str, str], float] = field(default_factory=dict)  # by arm, task and metric


def adapters(model: Path, work: Path, count: int) -> tuple[Path, ...]:
    """Folders of LoRA adapters on a model, with random weights of which none is zero."""
    folders = tuple(work / "adapters" / model.name / str(number) for number in range(count))
    if not all((folder / "adapter_model.safetensors").exists() for folder in folders):
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        settings = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        for number, folder in enumerate(folders):
            torch.manual_seed(number)
            get_peft_model(AutoModelForCausalLM.from_pretrained(model), settings).save_pretrained(folder)
    return folders


def best_batch_size(names: Sequence[str], size: str, hub_root: Path, work: Path, threads: int, memory: float) -> int:
    """lm-eval's fastest batch size for all six benchmarks, whose requests it puts to a model in one go."""
    import _likelihood_models as models
    import _likelihood_requests as asked
    import torch
    from _likelihood_benchmarks import best_batch_size
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(threads)
    model, tokenizer = models.loaded(models.made(size, hub_root, work))
    parts = [asked.questions(asked.BENCHMARKS[name], model, tokenizer, hub_root, work, None, None) for name in names]
    lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1)
    return best_batch_size(lm, asked.merged(parts), work, memory, f"{size}, {threads} threads, {' + '.join(names)}")


def report(name: str, setting: Setting, rounds: int, commands: int) -> list[str]:
    """The lines of the table, measured. Of six commands, `commands` are run and the rest taken to be like them."""
    columns = ["what", "`lm_eval`, s", "ours, s", "faster by", "goal", "in CPU-s"]
    columns += ["`lm_eval` start-up, s", "ours", "without start-up", "largest Δ of a metric"]
    lines = [
        f"## End to end: {setting.model.name}, {setting.threads} thread{'s' * (setting.threads > 1)}, "
        f"{setting.items or 'all'} items of each task, {rounds} rounds, `lm_eval` at batch size {setting.batch_size}",
        "",
        "An arm is the model with an adapter of its own. Start-up is the same run with one item of each task.",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    row = _row(SCENARIOS[name], setting, rounds, commands)
    note(row)
    return [*lines, row, ""]


def _row(scenario: Scenario, setting: Setting, rounds: int, commands: int) -> str:
    hf: list[Ran] = []
    own: list[Ran] = []
    # What starting up takes; and every cache that outlives a process is warm from then on.
    starting = [_theirs(scenario, setting, 1, commands, 0), _ours(scenario, setting, 1)]
    note(f"{scenario.title}, start-up: lm_eval {starting[0].seconds:.1f} s, ours {starting[1].seconds:.1f} s")
    for number in range(rounds):
        for side in ("ours", "hf") if number % 2 else ("hf", "ours"):
            if side == "ours":
                own.append(_ours(scenario, setting, setting.items))
            else:
                hf.append(_theirs(scenario, setting, setting.items, commands, number))
        note(f"{scenario.title}, round {number + 1}: lm_eval {hf[-1].seconds:.1f} s, ours {own[-1].seconds:.1f} s")
    pairs = list(zip(hf, own, strict=True))
    beyond = [(a.seconds - starting[0].seconds) / (b.seconds - starting[1].seconds) for a, b in pairs]
    cells = [
        scenario.title + (f" ({commands} commands run)" if commands < scenario.arms else ""),
        spread([each.seconds for each in hf], 1),
        spread([each.seconds for each in own], 1),
        f"**{spread([a.seconds / b.seconds for a, b in pairs], 2)}**",
        f"{scenario.goal}",
        f"{median(a.cpu / b.cpu for a, b in pairs):.2f}",
        f"{starting[0].seconds:.1f}",
        f"{starting[1].seconds:.1f}",
        spread(beyond, 2),
        _largest_difference(hf[0].metrics, own[0].metrics),
    ]
    return f"| {' | '.join(cells)} |"


def _largest_difference(one: Mapping[Any, float], other: Mapping[Any, float]) -> str:
    shared = one.keys() & other.keys()
    return f"{max(abs(one[key] - other[key]) for key in shared):.1e} of {len(shared)}" if shared else "none shared"


def _theirs(scenario: Scenario, setting: Setting, items: int | None, commands: int, number: int) -> Ran:
    """As many commands as there are arms, one after the other."""
    ran = Ran()
    count = min(commands, scenario.arms)
    for arm in range(count):
        one = _commanded(tuple(scenario.shots.items()), setting, items, arm, number)
        ran.seconds, ran.cpu = ran.seconds + one.seconds, ran.cpu + one.cpu
        ran.metrics.update(one.metrics)
    ran.seconds, ran.cpu = ran.seconds * scenario.arms / count, ran.cpu * scenario.arms / count
    return ran


@cache
def _commanded(shots: tuple[tuple[str, int], ...], setting: Setting, items: int | None, arm: int, number: int) -> Ran:
    """One command; in each round once, though two scenarios contain it."""
    out = setting.work / "lm_eval"
    shutil.rmtree(out, ignore_errors=True)
    ran = Ran(*_run(_command(dict(shots), setting, items, arm, out), setting, setting.hub_root))
    [file] = out.rglob("results_*.json")
    for task, found in json.loads(file.read_text())["results"].items():
        ran.metrics.update(
            {(arm, task, key.split(",")[0]): value for key, value in found.items() if key.endswith(",none")}
        )
    return ran


def _command(shots: Mapping[str, int], setting: Setting, items: int | None, arm: int, out: Path) -> list[str]:
    script = Path(sys.executable).with_name("lm_eval")
    arguments = f"pretrained={setting.model},peft={setting.adapters[arm]}"
    command = [str(script), "run", "--model", "hf", "--model_args", arguments]
    command += ["--batch_size", str(setting.batch_size), "--device", "cpu", "--output_path", str(out)]
    command += ["--limit", str(items)] if items else []
    if not shots:
        return [*command, "--tasks", *TASKS, "--num_fewshot", "0"]
    # One process for tasks with different shots: a group of them in a file.
    folder = setting.work / "group"
    folder.mkdir(exist_ok=True)
    kinds = {"mmlu": "group"}  # the others are tasks
    members = [{kinds.get(task, "task"): task, "num_fewshot": shots.get(task, 0)} for task in TASKS]
    (folder / "group.yaml").write_text(yaml.safe_dump({"group": GROUP, "task": members}))
    return [*command, "--tasks", GROUP, "--include_path", str(folder)]


def _ours(scenario: Scenario, setting: Setting, items: int | None) -> Ran:
    """`datatrial run` with a new store and one worker: every arm, its scores, contrasts and the report."""
    store, study = setting.work / "store", setting.work / "study.yaml"
    shutil.rmtree(store, ignore_errors=True)
    limit = {"limit": items} if items else {}
    benchmarks = [
        {"kind": "lm_eval", "task": task, "num_fewshot": scenario.shots.get(task, 0), **limit} for task in TASKS
    ]
    arms = {f"arm-{n}": [{"model": str(folder)}] for n, folder in enumerate(setting.adapters[: scenario.arms])}
    settings = {"name": "likelihood", "hub_root": str(setting.hub_root), "audits": []}
    model = {"kind": "hub", "path": str(setting.model)}
    study.write_text(yaml.safe_dump({**settings, "model": model, "arms": arms, "benchmarks": benchmarks}))
    script = Path(sys.executable).with_name("datatrial")
    command = [str(script), "run", str(study), "--store", str(store), "--jobs", "1", "--device", "cpu"]
    seconds, cpu = _run(command, setting, setting.work)
    ran = Ran(seconds, cpu)
    places = {arm: place for place, arm in enumerate(arms)}
    for row in results_of(study, store).scores.iter_rows(named=True):
        ran.metrics[places[row["arm"]], row["benchmark"], row["metric"]] = row["estimate"]
    return ran


def _run(command: Sequence[str], setting: Setting, folder: Path) -> tuple[float, float]:
    """Seconds and CPU-seconds of a process with all its children."""
    caches = {name: str(setting.work / "caches" / name) for name in ("HF_HOME", "HF_DATASETS_CACHE", "XDG_CACHE_HOME")}
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(setting.threads))
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **caches, **offline, **threads},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
