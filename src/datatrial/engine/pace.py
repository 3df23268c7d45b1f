"""How fast the steps of a run go, beside how fast they should."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from datatrial.engine.step import Step

EVIDENCE = 60.0  # expected seconds of work, from which on what it really took counts more than what was believed before
QUICKER = 0.25  # times of that, where it took less than was believed: that is no start of a worker
ONE_KIND = 2.0  # times of EVIDENCE, as which one kind counts at most for the pace of the others
COUNTED = 4.0  # times that work counts which a running step has counted: there is no start of a worker in it


@dataclass(frozen=True)
class Seen:
    """Work that was done: the seconds that it should have taken, and those that it took."""

    expected: float = 0.0
    took: float = 0.0

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(self.expected + other.expected, self.took + other.took)

    def __mul__(self, times: float) -> "Seen":
        return Seen(self.expected * times, self.took * times)

    def pace(self, believed: float | None, evidence: float) -> float | None:
        """Real seconds for an expected one, where so many were `believed` before; None while nothing is known.

        evidence: expected seconds, as which that belief counts; `QUICKER` times that, where what was seen took less.
        """
        if believed is None:
            return self.took / self.expected if self.expected else None
        if self.took < believed * self.expected:
            evidence *= QUICKER
        return (self.took + evidence * believed) / (self.expected + evidence)


class Paces:
    """The pace of each kind of steps, from those that ended, in this run and earlier ones.

    Short steps are mostly a worker's start, so that a kind is taken for as fast as all others until about a minute of
    it was seen, or less where it is quicker than that. Steps that run a model are apart from those that do not: one may
    know how long the latter take, but not how fast the device is.

    expected: seconds that a step should take, by digest, as far as that is known.
    absolute: whether they are seconds of the run's own device, and not just right beside each other's.
    """

    def __init__(self, steps: Sequence[Step], expected: Mapping[str, float | None], absolute: bool):
        self.runs_model = {step.task.kind: step.resources.gpus != 0 for step in steps}
        self.expected: dict[str, float] = {}
        self.evidence: dict[bool, float] = {}
        self.believed: dict[bool, float | None] = {}
        for runs_model in (False, True):
            alike = [step for step in steps if self.runs_model[step.task.kind] == runs_model]
            known = {s.digest: seconds for s in alike if (seconds := expected.get(s.digest)) is not None}
            self.expected |= _filled_in(alike, known)
            self.evidence[runs_model] = EVIDENCE if known else 1.0  # seconds, or steps where nothing is known
            self.believed[runs_model] = 1.0 if known and (absolute or not runs_model) else None
        self.before: dict[str, Seen] = defaultdict(Seen)  # by kind
        self.now: dict[str, Seen] = defaultdict(Seen)

    def took(self, step: Step, seconds: float, before: bool = False) -> None:
        """Note how long a step took, in this run or before it."""
        seen = self.before if before else self.now
        seen[step.task.kind] += Seen(self.expected[step.digest], seconds)

    def of_kinds(self, running: Iterable[tuple[Step, Seen]]) -> dict[str, float | None]:
        """The pace of each kind, with what was seen of running steps; None where nothing can be said yet."""
        now = defaultdict(Seen, self.now)
        for step, seen in running:
            now[step.task.kind] += seen * COUNTED
        paces: dict[str, float | None] = {}
        for runs_model, evidence in self.evidence.items():
            kinds = [kind for kind, runs in self.runs_model.items() if runs == runs_model]
            before = _all(self.before, kinds, ONE_KIND * evidence).pace(self.believed[runs_model], evidence)
            together = _all(now, kinds, ONE_KIND * evidence).pace(before, evidence)
            for kind in kinds:
                own = self.before[kind].pace(before, evidence)
                # As much slower now as all are now.
                believed = own * together / before if own and together and before else together
                paces[kind] = now[kind].pace(believed, evidence)
        return paces


def _filled_in(steps: Sequence[Step], known: Mapping[str, float]) -> dict[str, float]:
    """Expected seconds of each step: where they are not known, those of an average one of its kind, or of all."""
    of_kind: dict[str, list[float]] = defaultdict(list)
    for step in steps:
        if step.digest in known:
            of_kind[step.task.kind].append(known[step.digest])
    everywhere = sum(known.values()) / len(known) if known else 1.0
    average = {kind: sum(found) / len(found) for kind, found in of_kind.items()}
    return {step.digest: known.get(step.digest, average.get(step.task.kind, everywhere)) for step in steps}


def _all(seen: Mapping[str, Seen], kinds: Sequence[str], most: float) -> Seen:
    """What was seen of these kinds together, of each at most so many expected seconds."""
    some = [seen[kind] for kind in kinds if kind in seen]
    return sum((one * min(1.0, most / one.expected) for one in some if one.expected), Seen())
