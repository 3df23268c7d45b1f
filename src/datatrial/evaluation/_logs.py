"""A folder that lm-eval wrote with `--log_samples`: each task's newest files, and which tasks are one benchmark."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrial.component import LISTED
from datatrial.errors import DataError
from datatrial.evaluation._log_shapes import Run, has_shape
from datatrial.foreign.plain_json import value_of
from datatrial.records import LARGEST_JSON
from datatrial.regular_files import text_of

_TIME = r"(?P<time>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(\.\d+)?)"
_SAMPLES = re.compile(rf"samples_(?P<task>.+)_{_TIME}\.jsonl")
_RESULTS = re.compile(rf".+_{_TIME}\.json")
_HOW = "`lm_eval … --log_samples --output_path FOLDER` writes them"


@dataclass(frozen=True)
class Logs:
    """The newest samples of each task in a folder, with the results of the same run of lm-eval."""

    samples: Mapping[str, Path]  # by task
    results: Mapping[str, Path]  # by task; tasks of one run share theirs
    older: Mapping[str, int]  # by task: how many older files of samples are left aside
    benchmarks: Mapping[str, tuple[str, ...]]  # the tasks of each group, and every task outside of groups
    runs: tuple[Mapping[str, Any], ...]  # what those results files say, the oldest first

    @classmethod
    def read(cls, folder: Path) -> "Logs":
        """Finds the files at any depth, which are of one model.

        Raises: DataError where there are none, of several models, or samples without their results.
        """
        times = _samples_below(folder)
        samples = {task: files[max(files)] for task, files in sorted(times.items())}
        newest = {task: max(files) for task, files in times.items()}
        results = {task: _results_of(file, newest[task]) for task, file in samples.items()}
        runs = tuple(read_run(file) for file in sorted(set(results.values()), key=_time_of))
        older = {task: len(files) - 1 for task, files in times.items() if len(files) > 1}
        return cls(samples, results, older, _benchmarks(runs, list(samples)), runs)

    @property
    def model(self) -> str:
        """What lm-eval was told to score."""
        return str(self.runs[-1].get("model_name") or "a model without a name")

    def files(self, benchmark: str) -> tuple[Path, ...]:
        """The samples of a benchmark's tasks, and the results files beside them."""
        tasks = self.benchmarks[benchmark]
        return tuple(dict.fromkeys([*(self.samples[t] for t in tasks), *(self.results[t] for t in tasks)]))


def task_of(samples: Path) -> str | None:
    """The task that a file holds samples of; None for another kind of file."""
    found = _SAMPLES.fullmatch(samples.name)
    return found["task"] if found else None


def is_of_one_run(one: Path, other: Path) -> bool:
    """Whether two files were written by the same run of lm-eval."""
    return _time_of(one) == _time_of(other)


def _time_of(file: Path) -> str:
    found = _SAMPLES.fullmatch(file.name) or _RESULTS.fullmatch(file.name)
    return found["time"] if found else ""


def _samples_below(folder: Path) -> dict[str, dict[str, Path]]:
    """By task and time of the run."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; name one that holds lm-eval's samples_*.jsonl")
    named = [(file, found) for file in sorted(folder.rglob("*.jsonl")) if (found := _SAMPLES.fullmatch(file.name))]
    models = sorted({file.parent for file, _ in named})
    if not models:
        raise DataError(f"{folder}: holds no samples_*.jsonl of lm-eval; {_HOW}")
    if len(models) > 1:
        each = ", ".join(map(str, models[:LISTED]))
        raise DataError(f"{folder}: holds the samples of {len(models)} models; name one of them: {each}")
    times: dict[str, dict[str, Path]] = {}
    for file, found in named:
        times.setdefault(found["task"], {})[found["time"]] = file
    return times


def _results_of(samples: Path, time: str) -> Path:
    beside = (file for file in sorted(samples.parent.glob(f"*_{time}.json")) if _RESULTS.fullmatch(file.name))
    if found := next(beside, None):
        return found
    raise DataError(
        f"{samples}: there is no results_{time}.json beside it, which says how it was scored; copy it there"
    )


def read_run(results: Path) -> Mapping[str, Any]:
    """What a results file says.

    Raises: DataError when it is none.
    """
    try:
        run: Mapping[str, Any] = value_of(text_of(results, LARGEST_JSON))
    except ValueError as error:
        raise DataError(f"{results}: is not JSON ({error}); copy the whole file") from error
    except OSError as error:
        raise DataError(f"cannot read {results}: {error.strerror}") from error
    if not isinstance(run, Mapping):
        raise DataError(f"{results}: is no results file of lm-eval; copy the one that it wrote")
    return has_shape(Run, run, str(results))


def _benchmarks(runs: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for run in runs:
        groups |= {name: list(members) for name, members in (run.get("group_subtasks") or {}).items() if members}
    below = {member for members in groups.values() for member in members}
    found: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for group in groups:
        if group not in below:
            leaves = tuple(t for t in dict.fromkeys(_leaves(group, groups)) if t in tasks and t not in taken)
            found |= {group: leaves} if leaves else {}
            taken |= set(leaves)
    return found | {task: (task,) for task in tasks if task not in taken}


def _leaves(name: str, groups: Mapping[str, Sequence[str]], above: tuple[str, ...] = ()) -> Iterator[str]:
    if name not in groups:
        yield name
    for member in groups.get(name, ()) if name not in above else ():
        yield from _leaves(member, groups, (*above, name))
