"""What a study declares: the YAML's schema."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from datatrial.audits._base import Audit
from datatrial.component import LocalPath, Name, Settings, did_you_mean, invalid_at
from datatrial.data_set import DataSet
from datatrial.errors import StudyError
from datatrial.evaluation._base import Benchmark
from datatrial.foreign.plain_yaml import Place
from datatrial.models._base import Model
from datatrial.models.hub import Hub
from datatrial.prompts import PromptFormat
from datatrial.report.wording import in_words
from datatrial.resources import Checkpoints, Launching, ResourcesOfSteps
from datatrial.statistics.declared import DeclaredContrast
from datatrial.training._base import Lora, LoraOrAll, Stage
from datatrial.yaml_file import YamlFile

LENGTHS = {"epochs", "budget"}
OTHER_SEEDS = 1_000_003  # from a seed of the study to one that is trained again with


class ArmStage(Settings):
    """One entry of an arm: `{sft: lima}`, `{dpo: hh, beta: 0.2}`; as the first also `{model: …}` or `{arm: …}`."""

    kind: str  # "model", "arm", or a kind of training stage
    target: str  # the data set's name, the model's path, or the arm's name
    settings: Mapping[str, Any] = Field(default_factory=dict)  # overrides of `training`, or further fields of the model
    other_seeds: bool = False  # trained with other seeds than the study's: never written in a study

    @property
    def said(self) -> str:
        """It in words: `sft lima (learning_rate 0.0001)`."""
        own = ", ".join(f"{name} {in_words(value)}" for name, value in self.settings.items())
        return f"{self.kind} {self.target}" + (f" ({own})" if own else "")

    def on(self, data: str) -> Self:
        """The same stage on another data set."""
        return self.model_copy(update={"target": data})

    def again_with_other_seeds(self) -> Self:
        """The same stage, for runs that differ in nothing but their seeds."""
        return self.model_copy(update={"other_seeds": True})

    def with_the_studys_seeds(self) -> Self:
        """The stage that this one is again; itself, where it is no other's."""
        return self.model_copy(update={"other_seeds": False})

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if isinstance(value, ArmStage) or (isinstance(value, Mapping) and "target" in value):
            return value
        known = ["model", "arm", *Stage.kinds()]
        if not isinstance(value, Mapping):
            raise PydanticCustomError("stage", "should be a mapping such as {{sft: name-of-a-data-set}}")
        kinds = [key for key in value if key in known]
        if len(kinds) != 1 or not isinstance(value[kinds[0]], str):
            first = str(next(iter(value), ""))
            hint = f"should name one stage and its data set; {did_you_mean(first, known)}"
            raise PydanticCustomError("stage", "{hint}", {"hint": hint})
        rest = {key: setting for key, setting in value.items() if key != kinds[0]}
        return {"kind": kinds[0], "target": value[kinds[0]], "settings": rest}


def task_name_as_benchmark(value: Any) -> Any:
    """A benchmark that is only a name is a task of lm-eval."""
    return {"kind": "lm_eval", "task": value} if isinstance(value, str) else value


def name_as_kind(value: Any) -> Any:
    """An audit that is only a name is of that kind, with default settings."""
    return {"kind": value} if isinstance(value, str) else value


def _all_audits() -> tuple[Audit, ...]:
    return tuple(Audit.of_kind(kind)() for kind in Audit.kinds())


def _known_reference(name: str) -> str:
    from datatrial.reference import known

    if name and name not in known():
        what = f"no published results are called {name!r}; {did_you_mean(name, known())}"
        raise PydanticCustomError("reference", "{what}", {"what": what})
    return name


Stages = tuple[ArmStage, ...]


def _going_on(arms: Mapping[str, Stages]) -> Mapping[str, Stages]:
    """The arms, each that goes on from an earlier one with that one's entries in the place of its first."""
    found: dict[str, Stages] = {}
    for name, entries in arms.items():
        for number, entry in enumerate(entries):
            if entry.kind == "arm" and (problem := _not_there(entry, number, [*found])):
                raise invalid_at((name, number, "arm"), problem)
        start = found[entries[0].target] if entries and entries[0].kind == "arm" else ()
        found[name] = (*start, *entries[1:]) if entries and entries[0].kind == "arm" else entries
    return found


def _not_there(entry: ArmStage, number: int, earlier: list[str]) -> str:
    """Why an entry cannot go on from the arm that it names; empty where it can."""
    if number:
        return "an arm can go on from another only in its first entry"
    if entry.settings:
        return f"an arm goes on from another as that is; {next(iter(entry.settings))!r} cannot be set here"
    return "" if entry.target in earlier else f"no earlier arm {entry.target!r}; {did_you_mean(entry.target, earlier)}"


def _of_their_own(models: Mapping[str, Stages]) -> Mapping[str, Stages]:
    for name, entries in models.items():
        for number, entry in enumerate(entries):
            if entry.kind == "arm":
                raise invalid_at((name, number, "arm"), "reward models do not go on from arms: write the stages out")
    return models


class Sweep(Settings):
    """One arm for each value of a setting: `{arm: careful, n: [250, 1000, 4000]}`.

    The setting is a number of the arm's last stage, such as `beta`, or of the curation of its data, such as `n` of
    `sample` (which is put last where there is none) or `p` of `flip_labels`.
    """

    arm: str
    setting: str
    values: tuple[float, ...]

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "setting" in value:
            return value
        settings = [key for key in value if key != "arm"]
        if "arm" not in value or len(settings) != 1:
            raise PydanticCustomError("sweep", "should name an arm and one setting: arm: careful, n: [100, 400]")
        return {"arm": value["arm"], "setting": settings[0], "values": value[settings[0]]}

    @model_validator(mode="after")
    def _several(self) -> Self:
        if len(set(self.values)) < max(2, len(self.values)):
            what = f"should give two values or more of {self.setting}, each once"
            raise PydanticCustomError("sweep", "{what}", {"what": what})
        return self


T = TypeVar("T")


def _each_once(named: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(named)) < len(named):
        raise PydanticCustomError("each_once", "should name each once")
    return named


Endpoints = Annotated[tuple[str, ...], AfterValidator(_each_once)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]  # what NumPy takes


class Study(Settings):
    """A controlled trial of fine-tuning data, as its YAML file declares it."""

    name: Name
    about: str = ""  # what the study asks, for the report
    hub_root: LocalPath | None = None  # a directory laid out as org/name/… that stands in for the hub
    model: Model
    prompt: PromptFormat = "question_answer"
    max_length: int = Field(1024, gt=1)  # tokens of a training example
    lora: LoraOrAll = Lora()  # false: every weight is trained
    seeds: Annotated[tuple[Seed, ...], AfterValidator(_each_once)] = Field((0,), min_length=1)
    # What a seed draws anew: the rows of `sample` and its like, their order, LoRA's initialization (with dropout).
    seeds_redraw: tuple[Literal["sample", "order", "init"], ...] = Field(("order", "init"), min_length=1)
    training: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)  # settings of every stage of a kind
    data: Mapping[Name, DataSet] = Field(default_factory=dict)
    reward_models: Annotated[Mapping[Name, Annotated[Stages, Field(min_length=1)]], AfterValidator(_of_their_own)] = (
        Field(default_factory=dict)
    )
    audits: tuple[Annotated[Audit, BeforeValidator(name_as_kind)], ...] = Field(default_factory=_all_audits)
    arms: Annotated[Mapping[Name, Stages], AfterValidator(_going_on)] = Field(min_length=1)
    benchmarks: tuple[Annotated[Benchmark, BeforeValidator(task_name_as_benchmark)], ...] = Field(min_length=1)
    baseline: str = ""  # the arm that others are compared with; by default the first without stages, or the first
    capability: Endpoints = ()  # benchmarks over which the endpoint `capability` is the mean; empty: all shares
    primary: Endpoints = ()  # benchmarks whose declared contrasts are the study's main question
    contrasts: tuple[DeclaredContrast, ...] = ()
    controls: bool = False  # train arms that tell what data do from side effects
    sweeps: tuple[Sweep, ...] = ()
    assumptions: Mapping[str, str] = Field(default_factory=dict)  # settings that are guesses: place → reason
    reference: Annotated[str, AfterValidator(_known_reference)] = ""  # published results to show beside these
    resources: ResourcesOfSteps = ResourcesOfSteps()  # of a cluster
    launch: Launching = Launching()  # of each training stage
    checkpoints: Checkpoints = Checkpoints()  # of each training stage
    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _file: YamlFile = PrivateAttr(default_factory=lambda: YamlFile({}, {}))
    _path: Path | None = PrivateAttr(default=None)
    _overrides: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> "Study":
        """The study of a YAML file, with dotted overrides such as `training.sft.epochs=2`.

        Raises: StudyError with every problem found, each with its place, line and a suggestion.
        """
        path, overrides = Path(path), tuple(overrides)
        study = cls.from_yaml(YamlFile.read(path).with_overrides(list(overrides)), path.absolute().parent)
        study._path, study._overrides = path.absolute(), overrides
        return study

    @classmethod
    def from_yaml(cls, file: YamlFile, folder: Path) -> "Study":
        """The study of a file's values; relative paths in it are relative to `folder`."""
        from datatrial.check import problems_of

        if problems := problems_of(file, folder):
            raise StudyError(problems)
        study = cls.model_validate(file.values, context={"folder": folder})
        study._folder, study._file = folder, file
        return study

    @property
    def path(self) -> Path | None:
        """The file that the study was read from, if any."""
        return self._path

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides that it was read with."""
        return self._overrides

    @property
    def origin(self) -> Path | None:
        """The file that it extends, or its own: variants of one study share its lock, and so read the same commits."""
        return self._file.extended or self._path

    def line(self, place: Place) -> int | None:
        """The line of the study's file, from 1, where something is said; None where it is not."""
        return self._file.line(place)

    @property
    def text(self) -> str:
        """The study as YAML, overrides included; without what is no part of any result."""
        return self._file.without("resources", "launch", "checkpoints").text()

    @property
    def baseline_arm(self) -> str:
        without_stages = [name for name, stages in self.arms.items() if not stages]
        return self.baseline or next(iter([*without_stages, *self.arms]))

    def stage(self, spec: ArmStage, seed: int) -> Stage:
        """The training stage of an arm's entry: the study's settings, then `training`'s, then the entry's own."""
        shared = {"prompt": self.prompt, "max_length": self.max_length, "lora": self.lora and self.lora.model_dump()}
        fields = stage_fields(shared, self.training.get(spec.kind, {}), spec.settings)
        drawn = self.seed_of(spec, seed)
        order, init = (drawn if what in self.seeds_redraw else self.seeds[0] for what in ("order", "init"))
        return Stage.of_kind(spec.kind).model_validate(
            {**fields, "seed": order, "init_seed": None if init == order else init},
            context={"folder": self._folder},
        )

    def seed_of(self, entry: ArmStage, seed: int) -> int:
        """What an entry draws with where the study has this seed: another one for an arm that is trained again."""
        return seed + OTHER_SEEDS * entry.other_seeds

    def drawn(self, data: DataSet, seed: int) -> DataSet:
        """A data set as a seed draws it: as it is declared, unless seeds redraw the sample."""
        shift = seed - self.seeds[0]
        return data.redrawn(shift) if shift and "sample" in self.seeds_redraw else data

    def with_arms(self, arms: Mapping[str, tuple[ArmStage, ...]], data: Mapping[str, DataSet]) -> "Study":
        """The same study with other arms and data sets."""
        return self.model_copy(update={"arms": arms, "data": data})

    def start(self, spec: ArmStage) -> Hub:
        """The existing checkpoint or adapter that an arm's `model:` entry names."""
        return Hub.model_validate(start_fields(self.model, spec), context={"folder": self._folder})


def start_fields(model: Model, spec: ArmStage) -> dict[str, Any]:
    """The settings of a model that an arm starts from: loaded as the study's own, where its entry does not say how."""
    return {"path": spec.target, "dtype": model.dtype, "quantization": model.quantization, **spec.settings}


def stage_fields(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's settings from layers of them, the later over the earlier; `lora` and `trl` key by key.

    How long to train is one setting, whether it is given as `epochs` or as a `budget`.
    """
    fields: dict[str, Any] = {}
    for layer in layers:
        if LENGTHS & layer.keys():
            fields = {key: value for key, value in fields.items() if key not in LENGTHS}
        for key, value in layer.items():
            nested = key in ("lora", "trl") and isinstance(value, Mapping)
            fields[key] = {**(fields.get(key) or {}), **value} if nested else value
    return fields
