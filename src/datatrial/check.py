"""Everything that can be seen to be wrong with a study before it runs, found at once.

Parts are looked at on their own, so that a mistake in one does not hide those in another.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from datatrial.component import Component, did_you_mean
from datatrial.errors import DatatrialError, Problem
from datatrial.foreign.plain_yaml import Place, written
from datatrial.invalid import invalid
from datatrial.models.hub import Hub
from datatrial.records import LocalFiles
from datatrial.redaction import is_secret
from datatrial.resources import Launching, Needed
from datatrial.statistics.endpoints import CAPABILITY, is_of
from datatrial.study import Study, Sweep, stage_fields
from datatrial.study_parts import OWN_STAGE_SETTINGS, Parts, listed, mapping, read
from datatrial.training._base import Stage
from datatrial.yaml_file import ABSENT, YamlFile, value_at

Found = tuple[Place, str]  # a place, and what is wrong there
SEEDS = "seeds are the study's: set its `seeds`"


def problems_of(file: YamlFile, folder: Path) -> list[Problem]:
    """Every problem of a study's values, in the order of the file; relative paths are relative to `folder`."""
    context = {"folder": folder}
    checks = _Checks(file.values, context)
    found = [*invalid(lambda: Study.model_validate(file.values, context=context), file.values, ())]
    found += [*checks.unusable(), *checks.starts(), *checks.stages(), *checks.references(), *checks.order()]
    found += [*checks.titles(), *checks.contrasts(), *checks.sweeps(), *checks.processes()]
    found += [*checks.repeated(), *checks.assumptions(), *_secrets(file.values, ())]
    first = {(written(place), message): place for place, message in found}  # each problem once
    problems = [Problem(text, message, line=file.line(place)) for (text, message), place in first.items()]
    return sorted(problems, key=lambda p: p.line or 0)


class _Checks(Parts):
    """What is wrong with each part of a study."""

    def unusable(self) -> Iterator[Found]:
        """Files that are missing or empty, and whatever the components themselves see."""
        for place, component in self.components():
            try:
                files = [need.path for need in component.needs().values() if isinstance(need, LocalFiles)]
                messages = component.problems() or [message for path in files if (message := _unreadable(path))]
                yield from ((place, message) for message in messages)
            except DatatrialError as error:
                yield place, str(error)
            except OSError as error:
                yield place, f"cannot read {error.filename}: {error.strerror}"

    def starts(self) -> Iterator[Found]:
        """Wrong settings of the models that arms start from."""
        for place, entry in self.entries("model"):
            fields = {"path": entry.target, **entry.settings}
            yield from invalid(partial(Hub.model_validate, fields, context=self.context), fields, place)

    def stages(self) -> Iterator[Found]:
        """Wrong settings of training stages, where they are written: in the arm, in `training`, or for the study."""
        for kind in mapping(self.values.get("training")).keys() - set(Stage.kinds()):
            yield ("training", kind), f"no such kind of stage; {did_you_mean(kind, Stage.kinds())}"
        for kind in Stage.kinds():
            yield from self._stages_of_kind(kind)

    def _stages_of_kind(self, kind: str) -> Iterator[Found]:
        general, at = self.general(kind), ("training", kind)
        written = mapping(mapping(self.values.get("training")).get(kind))
        if "seed" in general:
            yield (*at, "seed"), SEEDS
        places: dict[str, Place] = {key: (key,) for key in OWN_STAGE_SETTINGS} | {key: (*at, key) for key in written}
        of_entries: list[tuple[Place, list[Found]]] = []
        for place, entry in self.entries(kind):
            if "seed" in entry.settings:
                yield (*place, "seed"), SEEDS
            if "tune" in entry.settings:
                yield (*place, "tune"), f"every arm gets the same effort: set it under training.{kind}"
            yield from (((*place, key), _picked(kind)) for key in self.tuned(kind) if key in entry.settings)
            own = {**places, **{key: (*place, key) for key in entry.settings}}
            of_entries.append((place, [*self._misplaced(kind, stage_fields(general, entry.settings), own, place)]))
        said = set()
        for where, message in self._misplaced(kind, general, places, at) if written else ():
            # What a kind's settings lack as a whole, an entry may give.
            lacking = where == at and not all((place, message) in wrong for place, wrong in of_entries)
            if where[:2] == at and not lacking:
                said.add(message if where == at else "")
                yield where, message
        for place, wrong in of_entries:
            elsewhere = {("training",), *((key,) for key in OWN_STAGE_SETTINGS if key in self.values)}
            for where, message in wrong:
                if where[:1] in elsewhere or (where[: len(place)] == place and message not in said):
                    yield where, message

    def _misplaced(
        self, kind: str, fields: dict[str, Any], places: dict[str, Place], otherwise: Place
    ) -> Iterator[Found]:
        """Problems of a stage's settings, each at the place where the setting is written."""
        build = partial(Stage.of_kind(kind).model_validate, fields, context=self.context)
        for place, message in invalid(build, fields, ()):
            yield (*places.get(str(place[0]), (*otherwise, place[0])), *place[1:]) if place else otherwise, message

    def references(self) -> Iterator[Found]:
        """Names of data sets and reward models that are not declared, or hold what cannot be used there."""
        for place, entry in self.entries(*Stage.kinds()):
            forms = Stage.of_kind(entry.kind).forms
            yield from self._data_reference((*place, entry.kind), entry.target, forms)
        for place, component in self.components():
            for part in component.reads().values():
                if part.what == "data":
                    yield from self._data_reference((*place, *_mentioned(component, part.name)), part.name, part.forms)
                elif part.what == "reward_model" and part.name not in self.reward_models:
                    known = did_you_mean(part.name, list(self.reward_models))
                    yield (*place, "reward_model"), f"no {part.name!r} under `reward_models`; {known}"
        for name, data_set in self.data.items():
            for number, op in enumerate(data_set.curation if data_set else ()):
                form = data_set.source.form if data_set else None
                if op.forms and form not in (None, *op.forms):
                    yield ("data", name, "curation", number), f"needs {' or '.join(op.forms)}, but these are {form}"

    def order(self) -> Iterator[Found]:
        """Entries of arms and reward models that are not where they can be."""
        for place, _ in self.entries("model"):
            if place[-1] != 0:
                yield place, "an arm can start from a model only in its first entry"
        for place, entry in self.entries("reward"):
            if place[0] == "arms":
                yield place, "a reward model gives scores, no answers: declare it under `reward_models`"
            elif entry is not self.reward_models[str(place[1])][-1]:
                yield place, "nothing can follow a reward model: it gives scores, no answers"
        for place, stage in self.trained():
            if not stage.lora and (start := self.start_of(place)) and start.quantization:
                yield place, f"a model in {start.quantization} cannot have every weight trained; give it a LoRA"
        for name, entries in self.reward_models.items():
            if not entries or (entries[-1] and entries[-1].kind != "reward"):
                yield ("reward_models", name), "should end with {reward: name-of-a-data-set-of-comparisons}"

    def _data_reference(self, place: Place, name: str, forms: tuple[str, ...]) -> Iterator[Found]:
        if name not in self.data:
            yield place, f"no data set {name!r} under `data`; {did_you_mean(name, list(self.data))}"
        elif (data_set := self.data[name]) and forms and data_set.source.form not in (None, *forms):
            yield place, f"needs {' or '.join(forms)}, but {name!r} holds {data_set.source.form}"

    def contrasts(self) -> Iterator[Found]:
        """Contrasts, the baseline, primary benchmarks and those of capability that name what is not there."""
        grouped = {benchmark.title: benchmark.by_group for benchmark in self.benchmarks if benchmark}
        titles, endpoints = [*grouped], [*grouped, CAPABILITY]
        named: list[tuple[Place, Any, list[str]]] = [(("baseline",), self.values.get("baseline"), list(self.arms))]
        for number, contrast in enumerate(listed(self.values, "contrasts")):
            if mapping(contrast).get("arm") == mapping(contrast).get("against") is not None:
                yield ("contrasts", number, "against"), "an arm cannot be compared with itself"
            for key, known in (("arm", list(self.arms)), ("against", list(self.arms)), ("on", endpoints)):
                for name in _several(mapping(contrast).get(key)):
                    named.append((("contrasts", number, key), name, known))
        named += [(("primary",), name, endpoints) for name in listed(self.values, "primary")]
        for name in listed(self.values, "capability"):
            named.append((("capability",), name, titles))
            if isinstance(name, str) and grouped.get(name):
                yield (
                    ("capability",),
                    f"{name!r} scores groups, not items, so it cannot be part of the mean over benchmarks",
                )
        if None in self.benchmarks:  # a title may be that of a benchmark that could not be read
            named = [entry for entry in named if entry[2] not in (titles, endpoints)]
        for place, name, known in named:
            if not isinstance(name, str) or name in known:
                continue
            of_group = known is endpoints and any(by and is_of(name, title) for title, by in grouped.items())
            if not of_group or name.endswith("/"):  # which groups there are, only the data tell
                yield place, f"there is no {name!r}; {did_you_mean(name, known)}"

    def sweeps(self) -> Iterator[Found]:
        """Sweeps over arms that are not there, and over settings that their stages do not have as their own."""
        for number, value in enumerate(listed(self.values, "sweeps")):
            place, arm, sweep = ("sweeps", number), mapping(value).get("arm"), read(Sweep, value, self.context)
            if not isinstance(arm, str):
                continue
            entries = self.arms.get(arm, [])
            kind = entries[-1].kind if entries and entries[-1] else ""
            if arm not in self.arms:
                yield (*place, "arm"), f"there is no {arm!r}; {did_you_mean(arm, list(self.arms))}"
            elif not entries or kind in ("model", "arm"):
                yield (*place, "arm"), f"{arm!r} ends with no training stage whose settings could be swept"
            elif kind and sweep and sweep.setting in self.tuned(kind):
                yield (*place, sweep.setting), _picked(kind)

    def processes(self) -> Iterator[Found]:
        """Shares of a GPU for stages in several processes."""
        training = mapping(mapping(self.values.get("resources")).get("training"))
        needed = read(Needed, training, self.context)
        launch = read(Launching, mapping(self.values.get("launch")), self.context)
        if needed and launch and launch.num_processes > 1 and 0 < (needed.gpus or 0) < 1:
            what = f"each of {launch.num_processes} processes (`launch`) needs a GPU of its own; set 1, or 0 for none"
            yield ("resources", "training", "gpus"), what

    def titles(self) -> Iterator[Found]:
        """Benchmarks that cannot be told apart by name."""
        titles = [benchmark.title for benchmark in self.benchmarks if benchmark]
        for number, benchmark in enumerate(self.benchmarks):
            if benchmark and titles.count(benchmark.title) > 1:
                yield ("benchmarks", number), f"a second benchmark is called {benchmark.title!r}; give it a `name`"
            if benchmark and benchmark.title == CAPABILITY:
                yield ("benchmarks", number), f"{CAPABILITY!r} is the mean over benchmarks; give it another `name`"

    def repeated(self) -> Iterator[Found]:
        """Audits of one kind: a data set has one finding of each."""
        for number, audit in enumerate(self.audits):
            if audit and any(other and other.kind == audit.kind for other in self.audits[:number]):
                yield ("audits", number), f"a second audit is of the kind {audit.kind}; leave one of them out"

    def assumptions(self) -> Iterator[Found]:
        """Assumptions about settings that the study does not have."""
        for place in mapping(self.values.get("assumptions")):
            if value_at(self.values, place) is ABSENT:
                yield ("assumptions", place), "the study sets nothing there; name a setting such as training.sft.epochs"


def _secrets(value: Any, place: Place) -> Iterator[Found]:
    """Settings that are secret, or hold one: a study is part of its report, and of what others are given."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _secrets(below, (*place, name))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _secrets(below, (*place, number))
    elif isinstance(value, str) and is_secret(str(place[-1]) if place else "", value):
        yield place, "holds a secret, which would be shown in the report: take it out, and set it in the environment"


def _picked(kind: str) -> str:
    return f"it is picked for every arm, so this would be ignored: leave it out here, or in training.{kind}.tune"


def _mentioned(component: Component, name: str) -> Place:
    """The setting of a component that names a data set."""
    for field, info in type(component).model_fields.items():
        value = getattr(component, field)
        if name in (value if isinstance(value, Mapping) else _several(value)):
            return (info.alias or field,)
    return ()


def _unreadable(path: Path) -> str:
    if not path.exists():
        return f"there is no {path}"
    if not path.is_file() and not path.is_dir():
        return f"{path} is neither a file nor a folder"
    return f"{path} is empty" if path.is_file() and path.stat().st_size == 0 else ""


def _several(value: Any) -> list[Any]:
    return [*value] if isinstance(value, list | tuple) else [value]
