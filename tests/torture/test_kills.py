"""SIGKILL at any moment: nothing finished is lost or done again, nothing half done is taken for whole."""

import math
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.torture.conftest import Figure
from tests.torture.runs import (
    At,
    Run,
    collect_garbage,
    contents,
    descendants,
    finished,
    gone,
    killed,
    processes,
    resumed,
)

pytestmark = [pytest.mark.torture, pytest.mark.timeout(1500)]
KILLS = 48, 47
KILLS_OF_CHILDREN = 5  # and of others, of a study whose stages train in two processes each
AMID = 0.4  # of all kills in the middle of training, less one: of very few there may be none
IN_TWO = ("launch.num_processes=2", "seeds=[0]")
# What a round of kills is aimed at, in the order in which a study comes to it, and for how long (in seconds) it then
# goes on before it is killed.
ROUND = {
    "data": 0.5,
    "base model": 2.0,
    "training": 1.0,
    "after training": 0.0,
    "evaluation": 0.3,
    "statistics": 0.5,
    "report": 0.5,
}
TRAININGS = 8  # kills of a round that are aimed at training
PATIENCE = 60.0  # seconds to wait for a phase


class Torture:
    """One study after another is run, and killed ten times or so on its way."""

    def __init__(self, study: Path, folder: Path, dice: random.Random, kills: int, *overrides: str):
        self.study, self.folder, self.dice, self.kills, self.overrides = study, folder, dice, kills, overrides
        self.done: Counter[tuple[str, str]] = Counter()  # who was killed, and what it was at
        self.amid = 0  # kills in the middle of training
        self.rounds = self.starts = 0

    def reference(self) -> dict[str, str]:
        """What an undisturbed run makes."""
        store = self.folder / "undisturbed"
        assert Run(self.study, store, *self.overrides).wait() == 0
        return contents(store)

    def round(self, expected: dict[str, str]) -> None:
        """From nothing to the end of the study, with kills on the way."""
        self.rounds += 1
        store, targets = self.folder / f"round-{self.rounds}", self._targets()
        seen: dict[str, tuple[int, int]] = {}
        latest: dict[str, int] = {}  # checkpoints at the last kill
        since: list[tuple[str, range]] = []  # of each kill of a step that had a new one: which it could have
        run = self._start(store)
        while run.ended != 0:
            if run.ended is not None:  # by a kill, or because a step failed whose worker was killed twice
                run = self._start(store)
            elif targets and self.done.total() < self.kills:
                since += self._kill_at(run, targets.pop(0), latest)
            else:
                run.wait()
            now = finished(store)
            assert seen.items() <= now.items(), "a finished step was lost or done again"
            seen = now
        made = contents(store)
        assert expected.items() <= made.items()
        # A step whose worker was killed twice has failed, and a summary without it was made, too.
        assert {key.partition("/")[0] for key in made.keys() - expected.keys()} <= {"contrasts", "report"}
        assert halves(store) <= {"contrasts", "report"}, "a half result was left"  # of a summary nobody asks for now
        collect_garbage(self.study, store, *self.overrides)
        assert not halves(store)
        for key, checkpoints in since:
            assert resumed(store, key) & {*checkpoints}, f"{key} did not go on from its checkpoint {checkpoints}"

    def _targets(self) -> list[str]:
        often = {"training": TRAININGS}
        return [phase for phase in ROUND for _ in range(often.get(phase, 1))]

    def _start(self, store: Path) -> Run:
        self.starts += 1
        return Run(self.study, store, *self.overrides, jobs=1 + self.rounds % 2)

    def _kill_at(self, run: Run, target: str, latest: dict[str, int]) -> list[tuple[str, range]]:
        """Kill the run or a worker; of each step that was killed with a new checkpoint, say which it was.

        Between the look and the kill it may have saved once more.
        """
        at = self._awaited(run, target, latest)
        if at is None:
            return []
        time.sleep(self.dice.uniform(0, ROUND[target]))
        ats = run.at()
        at = next((now for now in ats if now.worker == at.worker), None)
        workers, family = run.workers(), run.family()
        who = self.dice.choice(["run", "worker", "worker", "all"])
        if who == "worker":
            victims = training(at.worker) if at and self.overrides else []
            victim = self.dice.choice(victims) if victims else at.worker if at else None
            if victim is None:
                return []
            killed(victim)
            assert gone([victim])
            if at and victims:  # the others notice it in a while, and may save once more
                who = "child of a worker"
                waited(lambda: all(now.key != at.key for now in run.at()))
        else:
            run.kill(*(workers if who == "all" else []))
            assert gone(family), "a worker, or a process of its, outlived the run"
        phase = at.phase if at else "between steps"
        self.done[who, phase] += 1
        hit = ats if who in ("run", "all") else [one for one in ats if one == at]
        done, before = finished(run.store), dict(latest)
        latest |= {key: run.checkpoint(key) for key in {*latest, *(now.key for now in ats)}}
        new = [one for one in hit if one.checkpoint > before.get(one.key, 0) and one.key not in done]
        self.amid += phase == "training" and at in new
        return [(one.key, range(one.checkpoint, latest[one.key] + 1)) for one in new]

    def _awaited(self, run: Run, target: str, latest: dict[str, int]) -> At | None:
        """A worker that has come to a phase; None if the run ended before."""
        until = time.monotonic() + PATIENCE
        while run.ended is None and time.monotonic() < until:
            for at in run.at():
                trained = at.checkpoint > latest.get(at.key, 0)
                if at.phase == target and (target != "training" or trained):
                    return at
            time.sleep(0.01)
        return None


def waited(end: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not end():
        assert time.monotonic() < until, "a stage outlived one of its processes"
        time.sleep(0.05)


def training(worker: psutil.Process) -> list[psutil.Process]:
    """The processes that a worker has a stage trained in."""
    found: list[psutil.Process] = []
    for one in processes(descendants(worker.pid)):
        with suppress(psutil.NoSuchProcess):
            if "resource_tracker" not in " ".join(one.cmdline()):
                found.append(one)
    return found


def halves(store: Path) -> set[str]:
    """The kinds of results that are half there, or whose making could go on."""
    begun = {path.name.rpartition("-")[0] for path in store.glob("scratch/*")}
    return begun | {path.parent.name for path in store.glob("*/.part-*")}


@pytest.mark.parametrize(("kills", "overrides"), [*((some, ()) for some in KILLS), (KILLS_OF_CHILDREN, IN_TWO)])
def test_kills(
    study: Path,
    undisturbed: Path,
    tmp_path: Path,
    dice: random.Random,
    share: float,
    figure: Figure,
    kills: int,
    overrides: tuple[str, ...],
) -> None:
    torture = Torture(study, tmp_path, dice, math.ceil(kills * share), *overrides)
    expected = torture.reference() if overrides else contents(undisturbed)
    began = time.monotonic()
    while torture.done.total() < torture.kills:
        torture.round(expected)
    figure("kills", torture.done.total())
    for what, number in sorted(Counter(phase for _, phase in torture.done.elements()).items()):
        figure(f"kills while at {what}", number)
    for what, number in sorted(Counter(who for who, _ in torture.done.elements()).items()):
        figure(f"kills of {what}", number)
    figure("kills in the middle of training, each gone on from its checkpoint", torture.amid)
    figure("studies brought to their end", torture.rounds)
    figure("starts of `datatrial run`", torture.starts)
    figure("results compared with those of an undisturbed run, all bit for bit the same", len(expected))
    figure("minutes", f"{(time.monotonic() - began) / 60:.1f}")
    assert torture.amid >= math.floor(AMID * torture.kills) - 1
