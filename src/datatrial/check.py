"""Everything that can be seen to be wrong with a study before it runs, found at once.

Parts are looked at on their own, so that a mistake in one does not hide those in another.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from datatrial.audits._base import Audit
from datatrial.component import Component, did_you_mean
from datatrial.data_set import DataSet
from datatrial.errors import DatatrialError, Problem
from datatrial.evaluation._base import Benchmark
from datatrial.invalid import invalid
from datatrial.models._base import Model
from datatrial.models.hub import Hub
from datatrial.records import LocalFiles
from datatrial.statistics.endpoints import CAPABILITY, is_of
from datatrial.study import ArmStage, Study, name_as_kind, stage_fields, task_name_as_benchmark
from datatrial.training._base import Stage
from datatrial.yaml_file import ABSENT, Place, YamlFile, value_at, written

C = TypeVar("C")
Found = tuple[Place, str]  # a place, and what is wrong there
SEEDS = "seeds are the study's: set its `seeds`"
OWN_STAGE_SETTINGS = ("prompt", "max_length", "lora")  # of a stage, declared for the whole study


def problems_of(file: YamlFile, folder: Path) -> list[Problem]:
    """Every problem of a study's values, in the order of the file; relative paths are relative to `folder`."""
    context = {"folder": folder}
    parts = _Parts(file.values, context)
    found = [*invalid(lambda: Study.model_validate(file.values, context=context), file.values, ())]
    found += [*parts.unusable(), *parts.starts(), *parts.stages(), *parts.references(), *parts.order()]
    found += [*parts.titles(), *parts.contrasts(), *parts.repeated(), *parts.assumptions()]
    first = {(written(place), message): place for place, message in found}  # each problem once
    problems = [Problem(text, message, line=file.line(place)) for (text, message), place in first.items()]
    return sorted(problems, key=lambda p: p.line or 0)


class _Parts:
    """The parts of a study as far as they can be read, each by itself."""

    def __init__(self, values: dict[str, Any], context: dict[str, Any]):
        self.values, self.context = values, context
        self.data: dict[str, DataSet | None] = {
            name: _read(DataSet, value, context) for name, value in _mapping(values.get("data")).items()
        }
        benchmarks = [task_name_as_benchmark(value) for value in _list(values, "benchmarks")]
        self.benchmarks = [_read(Benchmark, value, context) for value in benchmarks]
        self.model = _read(Model, values.get("model"), context)
        audits = values["audits"] if "audits" in values else Audit.kinds()
        self.audits = [_read(Audit, name_as_kind(value), context) for value in _list({"audits": audits}, "audits")]
        self.arms, self.reward_models = (self._stages_of(key) for key in ("arms", "reward_models"))

    def _stages_of(self, key: str) -> dict[str, list[ArmStage | None]]:
        return {
            name: [_read(ArmStage, entry, self.context) for entry in (entries if isinstance(entries, list) else [])]
            for name, entries in _mapping(self.values.get(key)).items()
        }

    def unusable(self) -> Iterator[Found]:
        """Files that are missing or empty, and whatever the components themselves see."""
        for place, component in self._components():
            try:
                files = [need.path for need in component.needs().values() if isinstance(need, LocalFiles)]
                messages = component.problems() or [message for path in files if (message := _unreadable(path))]
                yield from ((place, message) for message in messages)
            except DatatrialError as error:
                yield place, str(error)

    def _components(self) -> Iterator[tuple[Place, Component]]:
        for name, data_set in self.data.items():
            if data_set:
                yield ("data", name, "source"), data_set.source
                yield from ((("data", name, "curation", n), op) for n, op in enumerate(data_set.curation))
        if self.model:
            yield ("model",), self.model
        for number, benchmark in enumerate(self.benchmarks):
            if benchmark:
                yield ("benchmarks", number), benchmark
        for number, audit in enumerate(self.audits):
            if audit:
                yield ("audits", number), audit
        yield from self._trained()
        for place, entry in self._entries("model"):
            if start := _read(Hub, {"path": entry.target, **entry.settings}, self.context):
                yield (*place, "model"), start

    def _trained(self) -> Iterator[tuple[Place, Stage]]:
        for place, entry in self._entries(*Stage.kinds()):
            fields = stage_fields(self._general(entry.kind), entry.settings)
            if stage := _read(Stage.of_kind(entry.kind), fields, self.context):
                yield place, stage

    def _starts_elsewhere(self, place: Place) -> bool:
        first = self.arms[str(place[1])][0] if place[0] == "arms" else None
        return first is not None and first.kind == "model"

    def _entries(self, *kinds: str) -> Iterator[tuple[Place, ArmStage]]:
        for key, named in (("arms", self.arms), ("reward_models", self.reward_models)):
            for name, entries in named.items():
                for number, entry in enumerate(entries):
                    if entry and entry.kind in kinds:
                        yield (key, name, number), entry

    def starts(self) -> Iterator[Found]:
        """Wrong settings of the models that arms start from."""
        for place, entry in self._entries("model"):
            fields = {"path": entry.target, **entry.settings}
            yield from invalid(partial(Hub.model_validate, fields, context=self.context), fields, place)

    def stages(self) -> Iterator[Found]:
        """Wrong settings of training stages, where they are written: in the arm, in `training`, or for the study."""
        for kind in _mapping(self.values.get("training")).keys() - set(Stage.kinds()):
            yield ("training", kind), f"no such kind of stage; {did_you_mean(kind, Stage.kinds())}"
        for kind in Stage.kinds():
            yield from self._stages_of_kind(kind)

    def _stages_of_kind(self, kind: str) -> Iterator[Found]:
        general, at = self._general(kind), ("training", kind)
        written = _mapping(_mapping(self.values.get("training")).get(kind))
        if "seed" in general:
            yield (*at, "seed"), SEEDS
        places: dict[str, Place] = {key: (key,) for key in OWN_STAGE_SETTINGS} | {key: (*at, key) for key in written}
        of_entries: list[tuple[Place, list[Found]]] = []
        for place, entry in self._entries(kind):
            if "seed" in entry.settings:
                yield (*place, "seed"), SEEDS
            if "tune" in entry.settings:
                yield (*place, "tune"), f"every arm gets the same effort: set it under training.{kind}"
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

    def _general(self, kind: str) -> dict[str, Any]:
        """The settings of every stage of a kind, without those of arms' entries."""
        shared = {key: self.values[key] for key in OWN_STAGE_SETTINGS if key in self.values}
        return stage_fields(shared, _mapping(_mapping(self.values.get("training")).get(kind)))

    def _misplaced(
        self, kind: str, fields: dict[str, Any], places: dict[str, Place], otherwise: Place
    ) -> Iterator[Found]:
        """Problems of a stage's settings, each at the place where the setting is written."""
        build = partial(Stage.of_kind(kind).model_validate, fields, context=self.context)
        for place, message in invalid(build, fields, ()):
            yield (*places.get(str(place[0]), (*otherwise, place[0])), *place[1:]) if place else otherwise, message

    def references(self) -> Iterator[Found]:
        """Names of data sets and reward models that are not declared, or hold what cannot be used there."""
        for place, entry in self._entries(*Stage.kinds()):
            forms = Stage.of_kind(entry.kind).forms
            yield from self._data_reference((*place, entry.kind), entry.target, forms)
        for place, component in self._components():
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
        for place, _ in self._entries("model"):
            if place[-1] != 0:
                yield place, "an arm can start from a model only in its first entry"
        for place, entry in self._entries("reward"):
            if place[0] == "arms":
                yield place, "a reward model gives scores, no answers: declare it under `reward_models`"
            elif entry is not self.reward_models[str(place[1])][-1]:
                yield place, "nothing can follow a reward model: it gives scores, no answers"
        for place, stage in self._trained():
            # Where an arm starts from another model, that one says what it is loaded as.
            if not stage.lora and self.model and self.model.quantization and not self._starts_elsewhere(place):
                yield place, f"a model in {self.model.quantization} cannot have every weight trained; give it a LoRA"
        for name, entries in self.reward_models.items():
            if not entries or (entries[-1] and entries[-1].kind != "reward"):
                yield ("reward_models", name), "should end with {reward: name-of-a-data-set-of-comparisons}"

    def _data_reference(self, place: Place, name: str, forms: tuple[str, ...]) -> Iterator[Found]:
        if name not in self.data:
            yield place, f"no data set {name!r} under `data`; {did_you_mean(name, list(self.data))}"
        elif (data_set := self.data[name]) and forms and data_set.source.form not in (None, *forms):
            yield place, f"needs {' or '.join(forms)}, but {name!r} holds {data_set.source.form}"

    def contrasts(self) -> Iterator[Found]:
        """Contrasts, sweeps, the baseline, primary benchmarks and those of capability that name what is not there."""
        grouped = {benchmark.title: benchmark.by_group for benchmark in self.benchmarks if benchmark}
        titles, endpoints = [*grouped], [*grouped, CAPABILITY]
        named: list[tuple[Place, Any, list[str]]] = [(("baseline",), self.values.get("baseline"), list(self.arms))]
        for number, contrast in enumerate(_list(self.values, "contrasts")):
            if _mapping(contrast).get("arm") == _mapping(contrast).get("against") is not None:
                yield ("contrasts", number, "against"), "an arm cannot be compared with itself"
            for key, known in (("arm", list(self.arms)), ("against", list(self.arms)), ("on", endpoints)):
                for name in _several(_mapping(contrast).get(key)):
                    named.append((("contrasts", number, key), name, known))
        untrained = [name for name, of in self.arms.items() if not of or (of[-1] and of[-1].kind in ("model", "arm"))]
        for number, sweep in enumerate(_list(self.values, "sweeps")):
            arm = _mapping(sweep).get("arm")
            named.append((("sweeps", number, "arm"), arm, list(self.arms)))
            if arm in untrained:
                yield ("sweeps", number, "arm"), f"{arm!r} ends with no training stage whose settings could be swept"
        named += [(("primary",), name, endpoints) for name in _list(self.values, "primary")]
        for name in _list(self.values, "capability"):
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
        for place in _mapping(self.values.get("assumptions")):
            if value_at(self.values, place) is ABSENT:
                yield ("assumptions", place), "the study sets nothing there; name a setting such as training.sft.epochs"


def _mentioned(component: Component, name: str) -> Place:
    """The setting of a component that names a data set."""
    for field, info in type(component).model_fields.items():
        value = getattr(component, field)
        if name in (value if isinstance(value, Mapping) else _several(value)):
            return (info.alias or field,)
    return ()


def _read(kind: Callable[..., C], value: Any, context: dict[str, Any]) -> C | None:
    adapter: TypeAdapter[C] = TypeAdapter(cast(type[C], kind))
    try:
        return adapter.validate_python(value, context=context)
    except ValidationError:
        return None  # reported with the whole study


def _unreadable(path: Path) -> str:
    if not path.exists():
        return f"there is no {path}"
    return f"{path} is empty" if path.is_file() and path.stat().st_size == 0 else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(values: Mapping[str, Any], key: str) -> list[Any]:
    value = values.get(key)
    return value if isinstance(value, list) else []


def _several(value: Any) -> list[Any]:
    return [*value] if isinstance(value, list | tuple) else [value]
