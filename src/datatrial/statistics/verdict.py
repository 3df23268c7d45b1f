"""What a test says of a difference, in the same few words everywhere."""

from datatrial.statistics.declared import Expectation
from datatrial.statistics.levels import ALPHA

UNDETECTED = "no detectable difference"
NOT_TESTED = "not tested"


def verdict(difference: float, p: float, higher_is_better: bool = True) -> str:
    """Better or worse, in the sense of the endpoint, when p (adjusted for its family) is at most 5%."""
    if not p <= ALPHA or difference == 0:
        return UNDETECTED
    return "better" if (difference > 0) == higher_is_better else "worse"


def outcome(difference: float, p: float, expect: Expectation, null: float, higher_is_better: bool = True) -> str:
    """Whether an expected difference is shown, contradicted or undecided; an empty text when nothing is expected.

    `p` is of the difference being `null`: 0 for "better" and "worse", the end of the margin for the others. The claim
    is shown when the difference is on its side of `null` and p (adjusted for its family) is at most 5%, contradicted
    when it is on the other side. `not_worse` is so a test of non-inferiority, `equivalent` is two of them (Schuirmann
    1987, TOST), each at 2.5%: the 95% interval lies within the margins.
    """
    if not expect:
        return ""
    if not p <= ALPHA:
        return "undecided"
    above = (difference > null) == higher_is_better
    inside = abs(difference) < abs(null)
    shown = {"better": above, "not_worse": above, "worse": not above, "not_better": not above, "equivalent": inside}
    return "shown" if shown[expect] else "contradicted"


def null_of(expect: Expectation, margin: float, difference: float, higher_is_better: bool = True) -> float:
    """The difference that a claim is tested against: 0, or the end of its margin (of two: the nearer one)."""
    sense = 1 if higher_is_better else -1
    side = {"not_worse": -sense, "not_better": sense, "equivalent": 1 if difference >= 0 else -1}.get(expect, 0)
    return side * margin
