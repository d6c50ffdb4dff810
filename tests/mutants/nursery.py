"""Runs pytest in forks of a process that has the libraries loaded already: a program, no module.

Standard input holds one JSON request per line, `{"tree": …, "arguments": […], "output": …,
"environ": {…}}`; each is answered by one empty line when its run has ended. Nothing of the tree
itself is ever imported here, so every fork sees the tree that it is told.
"""

import contextlib
import json
import os
import sys
import traceback
from importlib import import_module

PRELOADED = (
    "aiomqtt", "fastapi", "google.protobuf.message", "httpx", "hypothesis", "prometheus_client",
    "pydantic", "pytest", "structlog", "tenacity", "uvicorn", "uvloop",
)  # fmt: skip


def run(request: dict[str, object]) -> None:
    """In the fork: one run of pytest; never returns."""
    import pytest  # noqa: PLC0415  # loaded by then; the module itself needs only the library

    tree = str(request["tree"])
    os.environ.update(request["environ"])
    with open(str(request["output"]), "wb") as output:  # noqa: PTH123
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(tree)
    sys.path.insert(0, tree)
    try:
        pytest.main(request["arguments"])
    except BaseException:  # noqa: BLE001  # the fork must not return into the parent's loop
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    """Answer until the input ends."""
    sys.path.pop(0)  # this folder
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os.close(0)
            run(request)
        os.waitpid(child, 0)
        sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
