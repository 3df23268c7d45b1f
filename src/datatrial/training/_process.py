"""One of the processes that train a stage together; `_launch` starts them."""

import json
import os
import pickle
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from datatrial.errors import DatatrialError, ModelError, first_line
from datatrial.files import write_at_once
from datatrial.records import seldom
from datatrial.training._launch import ERROR, JOB, PROGRESS


def main(folder: Path, parent: int) -> None:
    launcher = os.getppid()
    job, path = pickle.loads((folder / JOB).read_bytes())
    sys.path[:] = path
    stage, inputs, out, runtime = pickle.loads(job)
    threading.Thread(target=_leave_with, args=(parent, launcher), daemon=True).start()
    if runtime.device == "cuda":
        import torch

        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if os.environ["RANK"] == "0":
        runtime = replace(runtime, progress=seldom(partial(_write_down, folder / PROGRESS)))
    try:
        stage.train(inputs, out, runtime)
    except Exception as error:
        traceback.print_exc()
        if not isinstance(error, DatatrialError):  # it may come of another process that was killed
            said = f"{type(error).__name__}: {first_line(error)}"
            other = "if another process was killed (most often for want of memory), this is but what came of it"
            error = ModelError(f"{said}; {other}: the step's log has what each said")
        reason = pickle.dumps(error)
        with suppress(FileExistsError), (folder / ERROR).open("xb") as file:
            file.write(reason)  # the first says why; others may only have lost it
        # Not through the interpreter's end, which would wait for the other processes.
        sys.stderr.flush()
        os._exit(1)


def _write_down(file: Path, *told: object) -> None:
    write_at_once(file, json.dumps(told))


def _leave_with(worker: int, launcher: int) -> None:
    """End this process when the worker that wanted it is gone, or what started it."""
    import psutil

    while psutil.pid_exists(worker) and os.getppid() == launcher:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
