"""Arms that a study asks for without writing them out: controls, and one arm for each value of a sweep.

Both are written out before anything is planned, so that all that follows sees arms like any others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from datatrial.component import did_you_mean
from datatrial.curation.sample import Sample
from datatrial.curation.shuffle_answers import ShuffleAnswers
from datatrial.data_set import DataSet
from datatrial.errors import Problem, StudyError
from datatrial.foreign.plain_yaml import written
from datatrial.invalid import plainly
from datatrial.study import ArmStage, Study, Sweep
from datatrial.training._base import Stage

AGAIN, SHUFFLED, SUBSET = "again", "shuffled", "as few"
NUMBERS = (int, float, int | None, float | None)  # types of settings that can be swept


@dataclass(frozen=True)
class Variant:
    """An arm made from another one, and the arms that it is to be compared with."""

    name: str
    of: str
    what: str  # a kind of control, or the setting that is swept
    value: float | None  # of the setting
    stages: tuple[ArmStage, ...]
    data: Mapping[str, DataSet]  # that it needs besides the study's
    against: tuple[str, ...]


def written_out(study: Study) -> tuple[Study, tuple[Variant, ...]]:
    """The study with the arms of its controls and sweeps, and which they are.

    Raises: StudyError for a sweep over something that its arm does not have, or to a value that it cannot have.
    """
    found = (*_controls(study), *(v for sweep in study.sweeps for v in _swept(study, sweep)))
    arms = {**study.arms, **{variant.name: variant.stages for variant in found}}
    data = {**study.data, **{name: made for variant in found for name, made in variant.data.items()}}
    return study.with_arms(arms, data), found


def _controls(study: Study) -> Iterator[Variant]:
    """For each arm whose data the study's contrasts are about: trained again, with shuffled answers, on as few rows."""
    if not study.controls:
        return
    pairs = [(contrast.arm, contrast.against) for contrast in study.contrasts]
    named = dict.fromkeys(arm for pair in pairs for arm in pair) if pairs else study.arms
    for arm in named:
        if not study.arms[arm] or study.arms[arm][-1].kind == "model":
            continue
        *before, last = study.arms[arm]
        again = tuple(entry.again_with_other_seeds() for entry in study.arms[arm])
        yield Variant(f"{arm} ({AGAIN})", arm, AGAIN, None, again, {}, (arm,))
        data, name = study.data[last.target], f"{last.target} ({SHUFFLED})"
        shuffled = data.model_copy(update={"curation": (*data.curation, ShuffleAnswers())})
        stages = (*before, last.on(name))
        yield Variant(f"{arm} ({SHUFFLED})", arm, SHUFFLED, None, stages, {name: shuffled}, (arm,))
    yield from _subsets(study, pairs)


def _subsets(study: Study, pairs: list[tuple[str, str]]) -> Iterator[Variant]:
    """Of two arms that differ in the data of their last stage: each on as many rows as the other has.

    Which has more is known only when the data are there. The smaller one stays whole, and the report leaves it out.
    """
    for arm, against in dict.fromkeys(pair for one, other in pairs for pair in ((one, other), (other, one))):
        if not study.arms[arm] or not study.arms[against]:
            continue
        (*_, ours), (*before, theirs) = study.arms[arm], study.arms[against]
        if "model" in (ours.kind, theirs.kind) or ours.kind != theirs.kind or ours.target == theirs.target:
            continue
        name = f"{theirs.target} (as few as {ours.target})"
        data = study.data[theirs.target]
        few = data.model_copy(update={"curation": (*data.curation, Sample(as_many_as=ours.target))})
        label = f"{against} ({SUBSET} as {arm})"
        yield Variant(label, against, SUBSET, None, (*before, theirs.on(name)), {name: few}, (arm, against))


def _swept(study: Study, sweep: Sweep) -> Iterator[Variant]:
    """One arm for each value; all are compared with the one of the largest value."""
    names = [f"{sweep.arm} ({sweep.setting}={_like(value)})" for value in sweep.values]
    largest = names[sweep.values.index(max(sweep.values))]
    for name, value in zip(names, sweep.values, strict=True):
        try:
            stages, data = _with_setting(study, sweep, value)
            study.stage(stages[-1], study.seeds[0])
        except ValidationError as error:
            [wrong, *_] = error.errors(include_url=False)
            raise _wrong(study, sweep, plainly(wrong["msg"], _like(value))) from error
        against = () if name == largest else (largest,)
        yield Variant(name, sweep.arm, sweep.setting, value, stages, data, against)


def _with_setting(study: Study, sweep: Sweep, value: float) -> tuple[tuple[ArmStage, ...], dict[str, DataSet]]:
    """The stages of an arm, and the data they need, with a setting changed: of its last stage, or of its data."""
    *before, last = study.arms[sweep.arm]
    if sweep.setting in _numbers(Stage.of_kind(last.kind)):
        changed = last.model_copy(update={"settings": {**last.settings, sweep.setting: _like(value)}})
        return (*before, changed), {}
    data = study.data[last.target]
    # `n` is how many rows are drawn, whatever else other steps of curation call so.
    known = [(n, s) for n, op in enumerate(data.curation) for s in _numbers(type(op)) if s != "n" or type(op) is Sample]
    places = [n for n, setting in known if setting == sweep.setting]
    ops = [*data.curation]
    if places:
        op = ops[places[-1]]
        ops[places[-1]] = type(op).model_validate({**_settings(op), sweep.setting: _like(value)})
    elif sweep.setting == "n":
        ops.append(Sample.model_validate({"n": _like(value)}))
    else:
        names = [*_numbers(Stage.of_kind(last.kind)), *(setting for _, setting in known), "n"]
        what = f"neither {last.kind!r} nor the data set {last.target!r} has such a number"
        raise _wrong(study, sweep, what, did_you_mean(sweep.setting, names))
    name = f"{last.target} ({sweep.setting}={_like(value)})"
    return (*before, last.on(name)), {name: data.model_copy(update={"curation": tuple(ops)})}


def _wrong(study: Study, sweep: Sweep, message: str, suggestion: str = "") -> StudyError:
    place = ("sweeps", study.sweeps.index(sweep), sweep.setting)
    return StudyError([Problem(written(place), message, suggestion, study.line(place))])


def _numbers(kind: type[Any]) -> list[str]:
    """The settings of a kind that are numbers."""
    fields = kind.model_fields.items()
    return [name for name, field in fields if "seed" not in name and field.annotation in NUMBERS]


def _settings(op: Any) -> dict[str, Any]:
    return {name: getattr(op, name) for name in op.model_fields_set}


def _like(value: float) -> float:
    """A whole number as one: settings that count take no others."""
    return int(value) if value == int(value) else value
