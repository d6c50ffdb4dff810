"""`python -m tests.simulation --seed N [--trace]` runs one seed, `--seeds A-B` a range of them."""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
import time
from collections import Counter

import structlog

from tests.simulation.runs import run


def main() -> int:
    """Run what the arguments say; 1 when a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--seeds", default="0-1999", metavar="A-B")
    parser.add_argument("--trace", action="store_true", help="say everything that happens")
    parser.add_argument("--digest", action="store_true", help="say a digest of all traces")
    parser.add_argument("--first", action="store_true", help="stop at the first failure")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    first, _, last = options.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    counts: Counter[str] = Counter()
    digest = hashlib.sha256()
    failed = done = 0
    started = time.process_time()
    for seed in seeds:
        world, failure = run(seed, is_traced=options.trace or options.digest)
        counts.update(world.ledger.counts)
        trace = "\n".join(world.schedule.trace or ())
        digest.update(trace.encode())
        if options.trace:
            print(trace)
        done += 1
        if failure:
            failed += 1
            print(f"seed {seed}: {failure if len(seeds) == 1 else failure.splitlines()[-1][:300]}")
            sys.stdout.flush()
            if options.first:
                break
    if options.digest:
        print(digest.hexdigest())
    spent_s = time.process_time() - started
    print(f"{done} seeds, {failed} failed, {spent_s:.1f} s of CPU, {dict(counts)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
