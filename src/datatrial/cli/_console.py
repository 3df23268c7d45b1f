"""A console whose output no text of others can steer, and which shows no secret."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from datatrial.foreign.names import visible
from datatrial.redaction import redacted


class SafeConsole(Console):
    """Shows escapes in the place of control characters and of those that hide or turn others."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(visible(redacted(text)), style)
