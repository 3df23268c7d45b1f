"""What a study declares of its contrasts. Light: the study's schema imports it."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from datatrial.component import Settings

Expectation = Literal["better", "worse", "not_better", "not_worse", "equivalent", ""]


class DeclaredContrast(Settings):
    """A difference between two arms that the study is about, and what it is expected to be.

    Without `expect` it is only reported, unless `competitive_within` is given: then the expectation is "not_worse".
    """

    arm: str
    against: str
    on: tuple[str, ...] = ()  # titles of benchmarks, or endpoints such as `safety/group`; empty: every benchmark
    expect: Expectation = ""
    competitive_within: float | None = Field(None, ge=0, lt=100)  # margin in points: 1.0 is 0.01 on the 0–1 scale
    claim: str = ""  # the sentence that this is evidence for; contrasts with one claim are read together

    @model_validator(mode="after")
    def _margin_fits(self) -> Self:
        if self.competitive_within is not None and self.expect in ("better", "worse"):
            hint = f"`competitive_within` goes with not_worse, not_better or equivalent, not with expect: {self.expect}"
            raise PydanticCustomError("margin", "{hint}", {"hint": hint})
        if self.expect == "equivalent" and not self.competitive_within:
            hint = "`expect: equivalent` needs a margin: `competitive_within: 1.0` says within one point"
            raise PydanticCustomError("margin", "{hint}", {"hint": hint})
        return self

    @property
    def expectation(self) -> Expectation:
        return "not_worse" if not self.expect and self.competitive_within is not None else self.expect

    @property
    def margin(self) -> float:
        """The margin on the 0–1 scale."""
        return (self.competitive_within or 0.0) / 100

    def covers(self, benchmark: str, endpoint: str) -> bool:
        """Whether an endpoint is meant: by its own name, or as the benchmark's main one."""
        return endpoint in self.on or (endpoint == benchmark and (not self.on or benchmark in self.on))
