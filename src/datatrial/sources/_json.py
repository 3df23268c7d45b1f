"""Rows in JSON, one a line or all in one list, each with the number of the line that it begins on."""

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from datatrial.foreign.plain_json import TOO_DEEP, checked, reason, value_of
from datatrial.regular_files import LONGEST_LINE, TOO_LONG
from datatrial.sources._bounds import BadRowError, Row

_SPACE = re.compile(r"[ \t\r\n]*")
_CHUNK = 2**20  # bytes of a list that are read at a time
_LONGEST_SIGN = 16  # characters at the end of a text that can be wrong for want of more, as in "\\ud83d\\ude0"


def json_rows(file: io.BufferedReader) -> Iterator[tuple[int, Row]]:
    """The rows of a file.

    Raises: BadRowError.
    """
    start = file.peek(64).removeprefix(codecs.BOM_UTF8).lstrip()
    # Many a .json file is JSONL in truth, and the other way round: the first character says which it is.
    return _listed(_Ahead(file)) if start.startswith(b"[") else _lines(file)


def _lines(file: io.BufferedReader) -> Iterator[tuple[int, Row]]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise BadRowError(number, TOO_LONG)
        if line.isspace():
            continue
        try:
            row = _row(value_of(line.decode().removeprefix("\ufeff")))
        except ValueError as error:
            raise BadRowError(number, f"not JSON ({error}); every line of JSONL is one row in {{…}}") from None
        yield number, row


def _listed(text: "_Ahead") -> Iterator[tuple[int, Row]]:
    # Row by row rather than at once: a row's line is known then, and no more than a row is held.
    try:
        text.next_sign()
        text.skip(1)
        if text.next_sign() != "]":
            yield text.line, text.row()
            while (sign := text.next_sign()) == ",":
                text.skip(1)
                text.next_sign()
                yield text.line, text.row()
            if sign != "]":
                raise ValueError(f"there should be ',' or the list's last ']', not {sign!r}")
        text.skip(1)
        if text.next_sign():
            raise ValueError(f"there should be nothing after the list's last ']', not {text.next_sign()!r}")
    except ValueError as error:
        # Where in the file the decoder was it does not know: it sees a part of the text.
        raise BadRowError(text.line, f"not a JSON list of rows ({getattr(error, 'msg', reason(error))})") from None


class _Ahead:
    """A text of which as much is held as is looked at."""

    def __init__(self, file: io.BufferedReader):
        self.line = 1
        self._file, self._decode = file, codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text, self._at = "", 0

    def skip(self, characters: int) -> None:
        end = self._at + characters
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def next_sign(self) -> str:
        """The first character that is no space, with all before it skipped; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self.skip(len(space[0]) if space else 0)
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def row(self) -> Row:
        """The row that begins here, skipped.

        Raises: ValueError when it is none.
        """
        value, end = self._decoded()
        row = _row(checked(value, self._text, self._at, end))
        self.skip(end - self._at)
        return row

    def _decoded(self) -> tuple[Any, int]:
        while True:
            try:
                return _DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                raise ValueError(TOO_DEEP) from None
            except json.JSONDecodeError as error:
                if not error.msg.startswith("Unterminated") and error.pos < len(self._text) - _LONGEST_SIGN:
                    raise
                if len(self._text) - self._at > LONGEST_LINE:
                    raise ValueError(TOO_LONG) from None
                if not self._more():  # it was not for want of text
                    raise

    def _more(self) -> bool:
        """Hold as much again, so that a long row is not looked at many times; whether there was anything."""
        data = self._file.read(max(_CHUNK, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + self._decode(data, not data), 0
        return bool(data)


_DECODER = json.JSONDecoder()


def _row(value: Any) -> Row:
    if not isinstance(value, dict):
        raise ValueError(f"a row should be an object in {{…}}, not a {type(value).__name__}")
    return value
