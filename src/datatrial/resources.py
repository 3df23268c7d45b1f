"""What the steps of a study take of a cluster, as its YAML says it."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, ByteSize, Field
from pydantic_core import PydanticCustomError

from datatrial.component import Settings
from datatrial.records import Launch, Resources

OWN_KEYS = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}  # Ray's names for what has a key here


def _allotted(quantity: float) -> float:
    if quantity > 1 and quantity != int(quantity):
        raise PydanticCustomError("quantity", "should be a whole number, or less than 1 to share one")
    return quantity


def _custom(name: str) -> str:
    if name in OWN_KEYS:
        raise PydanticCustomError("own_key", "{what}", {"what": f"has a key of its own: write {OWN_KEYS[name]}"})
    return name


Quantity = Annotated[float, Field(gt=0), AfterValidator(_allotted)]


class Needed(Settings):
    """What one step takes: `{gpus: 1, memory: 24GB, custom: {a100: 1}}`."""

    # A step uses one GPU: what a trainer does with several is another training, and resources may change no result.
    gpus: float | None = Field(None, ge=0, le=1)  # by default one for what runs a model, where the cluster has any
    cpus: Quantity = 1.0
    memory: ByteSize = Field(ByteSize(0), ge=0)  # to reserve; 0: none in particular
    custom: Mapping[Annotated[str, AfterValidator(_custom)], Quantity] = Field(default_factory=dict)

    def of_step(self, *, runs_model: bool) -> Resources:
        """The same for a step that runs a model or does not, which decides whether it takes a GPU by itself."""
        gpus = self.gpus if self.gpus is not None or runs_model else 0.0
        return Resources(gpus, self.cpus, int(self.memory), dict(self.custom))


class Launching(Settings):
    """In how many processes each training stage runs, named as by accelerate: every one has a GPU, or a core."""

    num_processes: int = Field(1, gt=0)

    @property
    def of_stage(self) -> Launch | None:
        return Launch(self.num_processes) if self.num_processes > 1 else None


class ResourcesOfSteps(Settings):
    """What each step of a kind of work takes."""

    training: Needed = Needed()  # stages of arms and reward models, and a base model that is trained here
    scoring: Needed = Needed()  # benchmarks, drift, and data sets that a reward model ranks
    other: Needed = Needed()  # data, audits, contrasts, the report
