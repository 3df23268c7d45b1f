"""`kind: shp`: SHP, which of two Reddit comments got more votes (Ethayarajh et al. 2022, stanfordnlp/SHP)."""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field

from datatrial.errors import DataError
from datatrial.records import Form, Message, SourceFacts
from datatrial.sources._bounds import Row
from datatrial.sources._conversations import comparison, demonstration, shown
from datatrial.sources._repository import RowByRow, once_each

Domain = Literal[
    "askacademia",
    "askanthropology",
    "askbaking",
    "askcarguys",
    "askculinary",
    "askdocs",
    "askengineers",
    "askhistorians",
    "askhr",
    "askphilosophy",
    "askphysics",
    "askscience",
    "asksciencefiction",
    "asksocialscience",
    "askvet",
    "changemyview",
    "explainlikeimfive",
    "legaladvice",
]
Split = Literal["train", "validation", "test"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)
ROWS: Mapping[Domain, tuple[int, int, int]] = {  # train, validation, test, as the repository's README has them
    "askacademia": (31450, 2095, 1708),
    "askanthropology": (3910, 203, 268),
    "askbaking": (44007, 2096, 1544),
    "askcarguys": (3227, 159, 117),
    "askculinary": (45710, 2094, 2563),
    "askdocs": (6449, 315, 455),
    "askengineers": (57096, 3154, 2638),
    "askhistorians": (3264, 113, 164),
    "askhr": (8295, 641, 395),
    "askphilosophy": (10307, 608, 677),
    "askphysics": (7364, 409, 587),
    "askscience": (13316, 899, 977),
    "asksciencefiction": (29382, 1576, 1987),
    "asksocialscience": (2706, 147, 188),
    "askvet": (3300, 170, 224),
    "changemyview": (38173, 1637, 1836),
    "explainlikeimfive": (19592, 1014, 1070),
    "legaladvice": (21170, 1106, 1011),
}

# Assumed: the hub's viewer gives 752 MB for all 385,563 rows in memory, about 1,950 bytes a row, of which some 130 are
# ids and numbers. Of the three texts, a demonstration has the post and one of two comments.
CHARACTERS = {"comparisons": 1800.0, "demonstrations": 1200.0}

ABOUT = (
    "385,563 pairs of top-level comments on posts of 18 subreddits (348,718 train, 18,436 validation, 18,409 test; no "
    "post is in two splits). A comment is preferred if it has the higher score though it was not written first, since "
    "early comments gather more votes merely for being seen more. A post can give many pairs, so one comment is often "
    "preferred in several. Its authors mean helpfulness, and say that a preferred answer need not be the more "
    "factual one."
)
CURATED = (
    "By rule, not by reading: posts of text with a score of at least 10, unedited, older than 2023, fit for all ages, "
    "at most 50 comments of each; both comments with a score of at least 2 and by neither the asker, a moderator nor "
    "a deleted user. Its authors advise a minimum score_ratio and few pairs a post (they use 5)."
)
PAPER = (
    "Paper and slides: human-generated, 385,000 instances, preferred by votes, about helpfulness rather than harm; "
    "both blame its arms' results on poor curation by upvotes. The size fits all splits of all 18 subreddits together "
    "(385,563; 348,718 of them train). Neither mentions that a preferred comment must also not be the earlier one, and "
    "neither says which splits were used, how many rows, or how comparisons became demonstrations for SFT."
)


class Shp(RowByRow):
    """SHP's posts as prompts: both comments as a comparison, or the preferred one as a demonstration.

    Each row of the data set is one row here, so with `form: demonstrations` a comment that is preferred in several
    pairs comes several times; `dedup` leaves one of each. What travels along is the same for both forms: `post_id`,
    `domain` (the subreddit), `split`, `upvote_ratio` (of the post, 0–1), `score_ratio` (≥ 1, preferred over other),
    `seconds_difference` (≥ 0, how much later the preferred one was written), and of the preferred and the other
    comment `chosen_…` and `rejected_…` `id`, `score` (votes) and `created_at` (seconds since 1970, UTC).
    """

    repository: ClassVar[str] = "stanfordnlp/SHP"
    checked: ClassVar[str] = "e94b5f32602712d78ed494fe79105b1959396686"

    domains: Annotated[tuple[Domain, ...], AfterValidator(once_each)] = Field(DOMAINS, min_length=1)
    splits: Annotated[tuple[Split, ...], AfterValidator(once_each)] = Field(("train",), min_length=1)
    wanted_form: Literal["comparisons", "demonstrations"] = Field("comparisons", alias="form")

    @property
    def form(self) -> Form:
        return self.wanted_form

    @property
    def facts(self) -> SourceFacts:
        numbers = [get_args(Split).index(split) for split in self.splits]
        return SourceFacts(
            licence="none stated: what Reddit's users wrote is theirs; scraped under the terms of Reddit's API",
            answers_by="human",
            labels_by="human",
            curated=CURATED,
            about=ABOUT,
            paper=PAPER,
            origin=self.repository,
            published_rows=sum(ROWS[domain][number] for domain in self.domains for number in numbers),
            revision=self.checked,
            characters=CHARACTERS[self.wanted_form],
        )

    @property
    def _files(self) -> Mapping[str, Mapping[str, str]]:
        parts = product(self.domains, self.splits)
        return {f"{domain}/{split}.json": {"domain": domain, "split": split} for domain, split in parts}

    def _parse(self, row: Row, told: Mapping[str, str]) -> Mapping[str, Any]:
        cells = self._cells(row)
        label = cells["labels"]
        if label not in (0, 1):
            raise DataError(f"the column 'labels' should be 1 (A is preferred) or 0 (B is), not {shown(label)}")
        sides = {"chosen": "A", "rejected": "B"} if label else {"chosen": "B", "rejected": "A"}
        asked = Message(role="user", content=cells.text("history"))
        chosen, rejected = (
            [asked, Message(role="assistant", content=cells.text(f"human_ref_{side}"))] for side in sides.values()
        )
        return {
            **(comparison(chosen, rejected) if self.wanted_form == "comparisons" else demonstration(chosen)),
            "post_id": cells.text("post_id"),
            **told,
            **{name: cells.number(name) for name in ("upvote_ratio", "score_ratio", "seconds_difference")},
            **{f"{which}_id": cells.text(f"c_root_id_{side}") for which, side in sides.items()},
            **{f"{which}_score": cells[f"score_{side}"] for which, side in sides.items()},
            **{f"{which}_created_at": cells[f"created_at_utc_{side}"] for which, side in sides.items()},
        }
