"""Where the time of one process goes: py-spy on a gateway under load.

    .venv/bin/python -m benchmarks.profile [module-handler|internal-server|external-client]
        [--devices 100] [--statuses same|different] [--seconds 6] [--native]

Prints for the busiest functions the share of samples in them and in what they call, only of samples
in which the process was running. `--native` tells apart what C code is in; needs the symbols.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.stage.gateways import REPOSITORY
from benchmarks.stage.programs import build
from benchmarks.stage.results import markdown
from benchmarks.stage.scene import own_scene, run_words

PROCESSES: Final = ("module-handler", "internal-server", "external-client")
RATE_HZ: Final = 400
ROWS: Final = 22


def shares(raw: str) -> Iterator[tuple[str, float, float]]:
    """(function, share in itself, share with what it calls) of py-spy's folded stacks."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        # Names without line numbers: a function is one row.
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = max(sum(own.values()), 1)
    for name, count in own.most_common():
        yield name, count / total, whole[name] / total


def profile(args: argparse.Namespace, folder: Path) -> str:
    """The folded stacks of the wanted process while all devices send."""
    output = folder / "stacks"
    with own_scene(build(folder), folder, checkout=args.checkout.resolve()) as scene:
        gateway = scene.gateways["ours"]
        with scene.devices(gateway, args.devices) as load:
            is_different = args.statuses == "different"
            load.tell(run_words(gateway, args.seconds + 3, different=is_different))
            command = [str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw"]
            command += ["--rate", str(RATE_HZ), "--duration", str(args.seconds)]
            command += ["--native"] if args.native else []
            command += ["--output", str(output), "--pid", str(gateway.pid_of(args.process))]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            load.read_line()
    return output.read_text(encoding="utf-8")


def main() -> int:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("process", nargs="?", choices=PROCESSES, default=PROCESSES[0])
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--statuses", choices=("same", "different"), default="same")
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--native", action="store_true")
    parser.add_argument("--checkout", type=Path, default=REPOSITORY)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mg-") as name:
        rows = list(shares(profile(args, Path(name))))
    lines = ((f"`{name}`", f"{own:.1%}", f"{whole:.1%}") for name, own, whole in rows[:ROWS])
    print("\n".join(markdown(("function", "in itself", "with what it calls"), lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
