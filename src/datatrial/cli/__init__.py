"""The command line. Exit codes: 0 done, 1 some step failed (the rest finished), 2 a bad study, or a place
that cannot be read or written to, 130 stopped.
"""

# ruff: noqa: F401, I001  (each registers its command, in the order of the help)
from datatrial.cli import (
    init,
    check,
    plan,
    fetch,
    run,
    audit,
    status,
    stop,
    explain,
    report,
    export,
    reference,
    import_,
)
from datatrial.cli import compare, gc
from datatrial.cli._app import app

__all__ = ["app"]
