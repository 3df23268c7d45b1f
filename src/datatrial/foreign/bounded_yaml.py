"""YAML that others wrote and a library is to read: looked through first, since those know no bounds.

libyaml dies of brackets within one another, and who follows the aliases of a "billion laughs" never comes to an end.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from datatrial.errors import DataError
from datatrial.regular_files import text_of

LARGEST = 2**24  # bytes of a file; the cards of data sets with hundreds of configurations have some megabytes
DEEPEST = 100  # collections within one another
MOST_VALUES = 1_000_000

_HEADER = re.compile(r"\s*---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)  # as the hub's client finds it


def bounded(text: str) -> str:
    """The text itself, if a YAML library can read it.

    Raises: yaml.YAMLError when it is no YAML, nested too deep, or holds too much, an alias counting as what it names.
    """
    held: list[int] = [0]  # values in each collection that is open
    anchors: list[str | None] = [None]  # and its name
    sizes: dict[str | None, int] = {}
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            held.append(1)
            anchors.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            held[-1] += (size := held.pop())
            sizes[anchors.pop()] = size
        elif isinstance(event, yaml.ScalarEvent):
            held[-1] += 1
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            held[-1] += MOST_VALUES if event.anchor in anchors else sizes.get(event.anchor, 0)
        if len(held) > DEEPEST or held[-1] > MOST_VALUES:
            raise yaml.YAMLError(f"nested more than {DEEPEST} deep, or more than {MOST_VALUES} values with its aliases")
    return text


def settings_of(card: Path) -> Mapping[str, Any]:
    """The settings in the YAML at the top of a repository's README, or in a file of YAML; none without such a file.

    Raises: DataError naming the file when it is too large, not in UTF-8, or its YAML is not to be read.
    """
    try:
        text = text_of(card, LARGEST).removeprefix("\ufeff")
        if card.suffix == ".md":
            header = _HEADER.match(text)
            text = header[1] if header else ""
        found = yaml.load(bounded(text), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        what = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise DataError(f"cannot read the settings in {card}: {what}") from error
    return found if isinstance(found, Mapping) else {}
