"""The parts of a study as far as they can be read, each by itself."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from datatrial.audits._base import Audit
from datatrial.component import Component
from datatrial.data_set import DataSet
from datatrial.evaluation._base import Benchmark
from datatrial.foreign.plain_yaml import Place
from datatrial.models._base import Model
from datatrial.models.hub import Hub
from datatrial.study import ArmStage, name_as_kind, stage_fields, start_fields, task_name_as_benchmark
from datatrial.training._base import Stage

C = TypeVar("C")
OWN_STAGE_SETTINGS = ("prompt", "max_length", "lora")  # of a stage, declared for the whole study


class Parts:
    """What a study's values hold; None stands for a part that cannot be read."""

    def __init__(self, values: dict[str, Any], context: dict[str, Any]):
        self.values, self.context = values, context
        self.data: dict[str, DataSet | None] = {
            name: read(DataSet, value, context) for name, value in mapping(values.get("data")).items()
        }
        benchmarks = [task_name_as_benchmark(value) for value in listed(values, "benchmarks")]
        self.benchmarks = [read(Benchmark, value, context) for value in benchmarks]
        self.model = read(Model, values.get("model"), context)
        audits = values["audits"] if "audits" in values else Audit.kinds()
        self.audits = [read(Audit, name_as_kind(value), context) for value in listed({"audits": audits}, "audits")]
        self.arms, self.reward_models = (self._stages_of(key) for key in ("arms", "reward_models"))

    def _stages_of(self, key: str) -> dict[str, list[ArmStage | None]]:
        return {
            name: [read(ArmStage, entry, self.context) for entry in (entries if isinstance(entries, list) else [])]
            for name, entries in mapping(self.values.get(key)).items()
        }

    def components(self) -> Iterator[tuple[Place, Component]]:
        """Everything that the study names with `kind:`, and the models that arms start from."""
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
        yield from self.trained()
        for place, entry in self.entries("model"):
            if start := read(Hub, {"path": entry.target, **entry.settings}, self.context):
                yield (*place, "model"), start

    def trained(self) -> Iterator[tuple[Place, Stage]]:
        """The stages of arms and reward models, with all their settings."""
        for place, entry in self.entries(*Stage.kinds()):
            fields = stage_fields(self.general(entry.kind), entry.settings)
            if stage := read(Stage.of_kind(entry.kind), fields, self.context):
                yield place, stage

    def start_of(self, place: Place) -> Model | None:
        """The model whose weights the chain of an entry's arm, or of its reward model, begins with."""
        chain = (self.arms if place[0] == "arms" else self.reward_models)[str(place[1])]
        for _ in self.arms:  # each goes on from an earlier one
            if chain and chain[0] and chain[0].kind == "arm":
                chain = self.arms.get(chain[0].target, [])
        if not self.model or not chain or not chain[0] or chain[0].kind != "model":
            return self.model
        start = read(Hub, start_fields(self.model, chain[0]), self.context)
        return self.model if start and start.is_adapter else start

    def entries(self, *kinds: str) -> Iterator[tuple[Place, ArmStage]]:
        """The entries of arms and reward models that are of these kinds."""
        for key, named in (("arms", self.arms), ("reward_models", self.reward_models)):
            for name, entries in named.items():
                for number, entry in enumerate(entries):
                    if entry and entry.kind in kinds:
                        yield (key, name, number), entry

    def tuned(self, kind: str) -> Mapping[str, Any]:
        """The settings that are picked for every stage of a kind, and from what."""
        return mapping(self.general(kind).get("tune"))

    def general(self, kind: str) -> dict[str, Any]:
        """The settings of every stage of a kind, without those of arms' entries."""
        shared = {key: self.values[key] for key in OWN_STAGE_SETTINGS if key in self.values}
        return stage_fields(shared, mapping(mapping(self.values.get("training")).get(kind)))


def read(kind: Callable[..., C], value: Any, context: dict[str, Any]) -> C | None:
    """What a value says; None where it is not valid."""
    adapter: TypeAdapter[C] = TypeAdapter(cast(type[C], kind))
    try:
        return adapter.validate_python(value, context=context)
    except ValidationError:
        return None  # reported with the whole study


def mapping(value: Any) -> Mapping[str, Any]:
    """The value, if it is a mapping."""
    return value if isinstance(value, Mapping) else {}


def listed(values: Mapping[str, Any], key: str) -> list[Any]:
    """What stands under a key, if it is a list."""
    value = values.get(key)
    return value if isinstance(value, list) else []
