"""How many rows a Parquet file has, from its last bytes: importing a reader takes longer than a whole plan.

The footer is a struct in Thrift's compact protocol (parquet-format's `FileMetaData`), whose third field is the number
of rows.
"""

from pathlib import Path

_ROWS = 3  # id of FileMetaData.num_rows
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_LARGEST_FOOTER = 2**22


def parquet_rows(file: Path) -> int | None:
    """The number of rows; None when the file is no Parquet file that can be read so."""
    try:
        with file.open("rb") as opened:
            opened.seek(-8, 2)
            size, magic = int.from_bytes(opened.read(4), "little"), opened.read(4)
            if magic != b"PAR1" or size > _LARGEST_FOOTER:
                return None
            opened.seek(-8 - size, 2)
            rows = _Footer(opened.read(size)).rows()
            return rows if rows is not None and rows >= 0 else None
    except (OSError, IndexError, ValueError, RecursionError):
        return None


class _Footer:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def rows(self) -> int | None:
        field = 0
        while True:
            field, kind = self._field(field)
            if not kind:
                return None
            if field == _ROWS:
                return self._zigzag()
            self._skip(kind)

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _pass(self, size: int) -> None:
        self.at += size
        if self.at > len(self.data):  # else a list that claims any number of items would be gone through
            raise IndexError(self.at)

    def _varint(self) -> int:
        value = shift = 0
        while shift < 64:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
        raise ValueError("a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _field(self, before: int) -> tuple[int, int]:
        """The id and type of the next field of a struct; type 0 ends it."""
        head = self._byte()
        if head == 0:
            return before, 0
        return (before + (head >> 4), head & 15) if head >> 4 else (self._zigzag(), head & 15)

    def _skip(self, kind: int) -> None:
        if kind == _BINARY:
            self._pass(self._varint())
        elif kind in (_LIST, _SET):
            head = self._byte()
            for _ in range(head >> 4 if head >> 4 < 15 else self._varint()):
                self._skip_item(head & 15)
        elif kind == _STRUCT:
            field, inner = self._field(0)
            while inner:
                self._skip(inner)
                field, inner = self._field(field)
        elif kind not in (_TRUE, _FALSE):
            self._skip_item(kind)

    def _skip_item(self, kind: int) -> None:
        """One value that is not a bool in a struct: those have no bytes of their own there, but one in a list."""
        if kind in (_TRUE, _FALSE, _BYTE):
            self._pass(1)
        elif kind == _DOUBLE:
            self._pass(8)
        elif kind in (_BINARY, _LIST, _SET, _STRUCT):
            self._skip(kind)
        elif kind <= 6:
            self._varint()
        else:
            raise ValueError(f"type {kind}")
