"""Results that lm-eval logged, read as what our own benchmarks make of a model's answers."""

import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path
from typing import Any

from datatrial.errors import DataError, quoted
from datatrial.evaluation._answers import Item, is_number
from datatrial.evaluation._log_shapes import Line as SampleLine
from datatrial.evaluation._log_shapes import has_shape
from datatrial.evaluation._logs import is_of_one_run, read_run, task_of
from datatrial.evaluation._outcome import Outcome, Sample
from datatrial.evaluation._right import Scored, worth
from datatrial.foreign.plain_json import value_of
from datatrial.regular_files import LONGEST_LINE, TOO_LONG, opened

# A run of lm-eval, as its results file tells of it.
_OF_RUN = ("lm_eval_version", "system_instruction", "fewshot_as_multiturn", "chat_template_sha")
_OF_CONFIG = ("limit", "gen_kwargs", "fewshot_seed")
# Settings of a task that its items' hashes tell better, or that name places rather than contents.
_UNSAID = {"task", "task_alias", "tag", "metadata", "dataset_path", "dataset_kwargs", "fewshot_config", "num_fewshot"}
_NEEDED = ("doc_id", "filter", "metrics", "target", "arguments", "filtered_resps")
_SHARES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")
HASHES = {"doc_hash": "document", "prompt_hash": "prompt", "target_hash": "target"}

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Logged:
    """One benchmark of one model."""

    items: Mapping[str, Mapping[int, Item]]
    outcome: Outcome
    asked: list[dict[str, str]]  # of each item: its name, and digests of what the model was asked
    settings: Mapping[str, Mapping[str, Any]]  # of each task: how it was asked and scored


def read(benchmark: str, tasks: Sequence[str], files: Sequence[Path]) -> Logged:
    """Reads the samples of a benchmark's tasks and the results beside them.

    Raises: DataError naming the file and the line that cannot be used.
    """
    samples = {task: file for file in files if (task := task_of(file))}
    runs = [(file, read_run(file)) for file in files if not task_of(file)]
    results = {task: next(run for file, run in runs if is_of_one_run(file, samples[task])) for task in tasks}
    lines = {task: _lines(samples[task], task, results[task]) for task in tasks}
    for task in tasks:
        _check_means(samples[task], task, lines[task], results[task])
    outcome = Outcome(
        results=_numbers(benchmark, results),
        samples={task: [_sample(line) for line in lines[task]] for task in tasks},
        higher_is_better={task: _higher_is_better(task, results[task]) for task in tasks},
        fewshot={task: _shots(task, results[task]) for task in tasks},
        scoring={},
        failures={},
        notes=sorted({f"imported from what lm-eval {run.get('lm_eval_version', '')} logged" for _, run in runs}),
    )
    return Logged(
        items={task: _items(task, lines[task], results[task]) for task in tasks},
        outcome=outcome,
        asked=[_digests(task, line) for task in tasks for line in _first_filter(lines[task])],
        settings={task: _settings(task, results[task]) for task in tasks},
    )


def _lines(file: Path, task: str, run: Line) -> list[Line]:
    """The samples of a task, filter by filter, items in order: several processes log theirs one after the other."""
    lines = []
    has_choices = _config(task, run).get("output_type") == "multiple_choice"
    with _opened(file) as samples:
        for number in count(1):
            if not (text := samples.readline(LONGEST_LINE + 1)):
                break
            if not text.isspace():
                lines.append(_line(file, number, text, has_choices))
    filters = list(dict.fromkeys(line["filter"] for line in lines))
    lines.sort(key=lambda line: (filters.index(line["filter"]), line["doc_id"]))
    for (name, item), same in groupby(lines, key=lambda line: (line["filter"], line["doc_id"])):
        if len(list(same)) > 1:
            raise DataError(f"{file}: item {item} is there twice (filter {name}); score the task again")
    expected = ((run.get("n-samples") or {}).get(task) or {}).get("effective")
    found = len({line["doc_id"] for line in lines})
    if not found or (expected is not None and found != expected):
        raise DataError(f"{file}: holds {found} items of {expected or 'none'}; copy the whole file, or score it again")
    return lines


def _check_means(file: Path, task: str, lines: Sequence[Line], run: Line) -> None:
    """Shares of right answers are means over items: where the results file says otherwise, it is not of these samples.

    Raises: DataError naming both numbers.
    """
    otherwise = {
        m["metric"] for m in _config(task, run).get("metric_list") or [] if m.get("aggregation", "mean") != "mean"
    }
    for name, said in ((run.get("results") or {}).get(task) or {}).items():
        metric, _, kind = name.partition(",")
        values = [line[metric] for line in lines if line["filter"] == kind and metric in line["metrics"]]
        if metric not in _SHARES or metric in otherwise or not values or not all(map(is_number, [said, *values])):
            continue
        if not math.isclose(mean := math.fsum(values) / len(values), said, abs_tol=1e-9):
            raise DataError(
                f"{file}: the mean of {metric} is {mean:.4g}, but the results file beside it says {said:.4g}: "
                "they are not of one run, or one was changed; score it again"
            )


@contextmanager
def _opened(file: Path) -> Iterator[io.BufferedReader]:
    try:
        with opened(file) as samples:
            yield samples
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error


def _line(file: Path, number: int, text: bytes, has_choices: bool) -> Line:
    try:
        if len(text) > LONGEST_LINE:
            raise ValueError(TOO_LONG)
        line = value_of(text.decode())
    except ValueError as error:
        raise DataError(
            f"{file}: line {number} is not JSON ({error}); copy the whole file, or score it again"
        ) from error
    if not isinstance(line, Mapping):
        raise DataError(f"{file}: line {number} is no sample of lm-eval; copy the whole file, or score it again")
    lacking = [key for key in (*_NEEDED, *HASHES) if key not in line]
    if lacking:
        raise DataError(f"{file}: line {number} has no {lacking[0]!r}; score it again with a newer lm-eval")
    has_shape(SampleLine, line, f"{file}: line {number}")
    if has_choices and (wrong := _no_choices(line)):
        raise DataError(f"{file}: line {number}: {wrong}; score it again")
    for metric in line["metrics"]:
        if wrong := _impossible(metric, line):
            raise DataError(f"{file}: line {number}: {metric} of item {line['doc_id']} is {wrong}; score it again")
    found: Line = line
    return found


def _impossible(metric: str, line: Line) -> str:
    """What is wrong with a score; nothing is said of lists, whose metrics are no means over items."""
    value = line.get(metric, "")
    if isinstance(value, str):
        return f"{quoted(value, 60)}, no number" if metric in line else "not there"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a number of more than 64 bits"
    if isinstance(value, int | float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int | float) and metric in _SHARES and not 0 <= value <= 1:
        return f"{value}, no share of 0 to 1"
    return ""


def _no_choices(line: Line) -> str:
    """What is wrong with the requests of a question with choices, or with their answers."""
    requests, answers = _asked(line), line["filtered_resps"]
    if not all(len(request) > 1 for request in requests):
        return "a request has no choice in it"
    if len(answers) < len(requests) or not all(isinstance(_answer(answer), tuple) for answer in answers):
        return "the answers are not a log-likelihood for each choice"
    return ""


def _numbers(benchmark: str, results: Mapping[str, Line]) -> dict[str, Mapping[str, Any]]:
    """lm-eval's own numbers: of each task, and of a group where all of its tasks are of one run."""
    own = {task: (run.get("results") or {}).get(task) or {} for task, run in results.items()}
    runs = list(results.values())
    whole = (runs[0].get("results") or {}).get(benchmark) if all(run is runs[0] for run in runs) else None
    return {benchmark: whole, **own} if whole else own


def _sample(line: Line) -> Sample:
    metrics = {metric: line.get(metric) for metric in line["metrics"]}
    return Sample(int(line["doc_id"]), line["filter"], metrics, [_answer(a) for a in line["filtered_resps"]], [])


def _answer(logged: Any) -> Any:
    # A log-likelihood and whether the text is what the model would write; lm-eval logs both as texts.
    if isinstance(logged, list) and len(logged) == 2 and str(logged[1]) in ("True", "False"):
        with suppress(TypeError, ValueError, OverflowError):
            return float(logged[0]), str(logged[1]) == "True"
    return logged


def _items(task: str, lines: Sequence[Line], run: Line) -> dict[int, Item]:
    first = list(_first_filter(lines))
    config = _config(task, run)
    if config.get("output_type") != "multiple_choice":
        return {int(line["doc_id"]): _item(task, line, _question(task, run, line, 0), (), {}) for line in first}
    asked = [_choices(task, line, run) for line in first]
    scored = [
        Scored(
            line["doc"] if isinstance(line.get("doc"), Mapping) else {},
            choices,
            str(line["target"]),
            tuple(_answer(answer)[0] for answer in line["filtered_resps"][: len(choices)]),
            {metric: line.get(metric) for metric in line["metrics"]},
        )
        for line, (_, choices) in zip(first, asked, strict=True)
    ]
    found = zip(first, asked, worth(scored), strict=True)
    return {
        int(line["doc_id"]): _item(task, line, question, choices, sure) for line, (question, choices), sure in found
    }


def _item(task: str, line: Line, question: str, choices: tuple[str, ...], sure: Mapping[str, Sequence[float]]) -> Item:
    return Item(f"{task}:{line['doc_id']}", task, question, choices, str(line["target"]), sure)


def _choices(task: str, line: Line, run: Line) -> tuple[str, tuple[str, ...]]:
    """The question and its choices, from the requests: each is a text and how it could go on."""
    requests = _asked(line)
    delimiter = _delimiter(_config(task, run), run)
    endings = [str(request[1]).removeprefix(delimiter) for request in requests]
    if len({str(prompt) for prompt, *_ in requests}) > 1:  # the choices come before one common ending, as in WinoGrande
        return endings[0], tuple(_question(task, run, line, place) for place in range(len(requests)))
    return _question(task, run, line, 0), tuple(endings)


def _question(task: str, run: Line, line: Line, place: int) -> str:
    """A prompt without the examples before it, as far as their number tells where they end."""
    prompt, shots = str(_requests(line)[place][0]), _shots(task, run)
    delimiter = _config(task, run).get("fewshot_delimiter") or "\n\n"
    if not shots or run.get("chat_template"):
        return prompt
    parts = prompt.split(delimiter)  # all examples are written like the question, so each has as many parts
    return delimiter.join(parts[-max(1, len(parts) // (shots + 1)) :])


def _delimiter(config: Line, run: Line) -> str:
    """What lm-eval puts between a question and a choice; nothing in a chat, unless it begins the answer itself."""
    return "" if run.get("chat_template") and not config.get("gen_prefix") else config.get("target_delimiter", " ")


def _asked(line: Line) -> list[list[Any]]:
    """The requests for each choice after the question; with this metric, each is also asked by itself."""
    requests = _requests(line)
    return requests[: max(1, len(requests) // 2)] if "acc_mutual_info" in line["metrics"] else requests


def _requests(line: Line) -> list[list[Any]]:
    return [list(request.values()) for request in line["arguments"].values()]


def _first_filter(lines: Sequence[Line]) -> Iterator[Line]:
    return (line for line in lines if line["filter"] == lines[0]["filter"])


def _digests(task: str, line: Line) -> dict[str, str]:
    rest = [[request[1:], request[0] if n else ""] for n, request in enumerate(_requests(line))]
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    hashes = {name: str(line[key]) for key, name in HASHES.items()}
    return {"item": f"{task}:{line['doc_id']}", **hashes, "request": digest}


def _higher_is_better(task: str, run: Line) -> dict[str, bool]:
    said = (run.get("higher_is_better") or {}).get(task) or {}
    listed = {m["metric"]: m.get("higher_is_better") for m in _config(task, run).get("metric_list") or []}
    return {metric: better for metric, better in {**listed, **said}.items() if isinstance(better, bool)}


def _shots(task: str, run: Line) -> int:
    return int((run.get("n-shot") or {}).get(task) or 0)


def _config(task: str, run: Line) -> Line:
    config: Line = (run.get("configs") or {}).get(task) or {}
    return config


def _settings(task: str, run: Line) -> dict[str, Any]:
    """How a task was asked and scored, for people to see what differs between two runs."""
    own = {key: value for key, value in _config(task, run).items() if key not in _UNSAID}
    of_run = {key: run.get(key) for key in _OF_RUN} | {key: (run.get("config") or {}).get(key) for key in _OF_CONFIG}
    return {**own, **of_run, "version": (run.get("versions") or {}).get(task), "num_fewshot": _shots(task, run)}
