"""`python -m bench`: measure and print.

Exit codes: 0 done, 1 we or nginx could not be measured, 2 something is missing on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import machine, report, rounds
from bench.contenders import CONTENDERS
from bench.contenders.contender import Contender
from bench.machine import Cores, UnfitMachine
from bench.scenarios import Download, Retrieve

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".bench"
RESULT = ROOT / "bench" / "results" / "latest.json"
ESSENTIAL = {"nginx", "quaymaster"}
NEEDED = {"wrk": "wrk", "nginx": "nginx", "curl": "curl", "taskset": "util-linux", "setpriv": "util-linux"}
"""Programs, and Debian's packages that hold them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that everything started is stopped
    try:
        _require_programs()
        cores = Cores.choose(os.sched_getaffinity(0))
    except UnfitMachine as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {cores.generator})
    plan = _plan(options)
    started_at = datetime.now(UTC)
    TOOLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=TOOLS) as folder:
        entries = rounds.run(plan, options.only, cores=cores, tools=TOOLS, folder=Path(folder), say=_say)
    print(f"\n{report.table(entries)}\n")
    for remark in report.remarks(entries):
        print(f"note: {remark}")
    context = {
        "started_at": started_at.isoformat(timespec="seconds"),
        "machine": machine.description(),
        "rounds": plan.rounds,
        "download_bytes": plan.content_bytes,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report.document(entries, context), indent=2) + "\n")
    print(f"\nmedians of {plan.rounds}; every figure is in {RESULT.relative_to(ROOT)}")
    missing = [e for e in entries if e.contender.title in ESSENTIAL and (e.skipped is not None or e.refusals)]
    return 1 if missing else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Our speed beside our peers' on this machine.")
    parser.add_argument("--quick", action="store_true", help="one short round of what is installed, under two minutes")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--only", type=_contenders, default=CONTENDERS, help="contenders, as nginx,quaymaster")
    return parser.parse_args(arguments)


def _contenders(names: str) -> tuple[Contender, ...]:
    known = {contender.title: contender for contender in CONTENDERS}
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} unknown; there are: {', '.join(known)}")
    return tuple(known[name] for name in names.split(","))


def _plan(options: argparse.Namespace) -> rounds.Plan:
    size = 2**28 if options.quick else 2**30
    seconds = 3 if options.quick else 8
    return rounds.Plan(
        rounds=options.rounds or (1 if options.quick else 3),
        warm_up_seconds=1 if options.quick else 3,
        content_bytes=size,
        scenarios=(Retrieve(1, seconds), Retrieve(64, seconds), Download(size, within_seconds=150)),
        repeat_seconds=0 if options.quick else 15,
        install=not options.quick,
    )


def _require_programs() -> None:
    packages = {package for program, package in NEEDED.items() if shutil.which(program) is None}
    if packages:
        raise UnfitMachine(f"programs are missing; on Debian: apt-get install {' '.join(sorted(packages))}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
