"""What lm-eval's files look like, as far as they are read: anything else is told with its place."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from datatrial.errors import DataError, named

T = TypeVar("T")


def _fits(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number of more than 64 bits")
    return value


Value = Annotated[Any, AfterValidator(_fits)]
Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, protected_namespaces=())


class _Metric(_Shape):
    metric: str
    aggregation: Any = None


class _Config(_Shape):
    """How a task was asked and scored."""

    output_type: str | None = None
    metric_list: list[_Metric] | None = None
    target_delimiter: str = " "
    fewshot_delimiter: str | None = None


class _Items(_Shape):
    effective: Count | None = None


class Run(_Shape):
    """A results file; of everything but the model's name there is one for each task."""

    results: dict[str, dict[str, Value]] | None = None
    group_subtasks: dict[str, list[str]] | None = None
    configs: dict[str, _Config] | None = None
    versions: dict[str, Any] | None = None
    n_shot: dict[str, Count | None] | None = Field(None, alias="n-shot")
    n_samples: dict[str, _Items] | None = Field(None, alias="n-samples")
    higher_is_better: dict[str, dict[str, Any] | None] | None = None
    config: dict[str, Any] | None = None


class Line(_Shape):
    """A line of a file of samples: one item, by one of the task's filters."""

    doc_id: Count
    filter: str
    metrics: list[str]
    arguments: dict[str, Annotated[dict[str, Any], Field(min_length=1)]] = Field(min_length=1)  # of each request
    filtered_resps: list[Any]


def has_shape(shape: type[_Shape], value: T, where: str) -> T:
    """The value itself.

    Raises: DataError with the place of what looks otherwise.
    """
    try:
        shape.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        place = ".".join(map(str, found["loc"])) or "it"
        what = f"{named(place)} is not as lm-eval writes it: {found['msg']}"
        raise DataError(f"{where}: {what}; copy the whole file, or score it again") from None
    return value
