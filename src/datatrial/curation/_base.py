"""What every curation op is."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from datatrial.component import Family

if TYPE_CHECKING:
    from datatrial.tables import Table


class CurationOp(Family):
    """Rows in, rows out; what it drops is counted in the table's card (`Table.keep`)."""

    folder: ClassVar[str] = "datatrial.curation"

    @abstractmethod
    def apply(self, table: "Table") -> "Table": ...
