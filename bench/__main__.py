"""`python -m bench`: measure, print, write; `--table`: print the last run's tables as Markdown.

Exit codes: 0 done, 1 we or nginx could not be measured, 2 something is missing on this machine, or the last run is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import machine, marks, picture, plan, report, rounds
from bench.machine import Cores, UnfitMachine
from bench.neighbours import raise_file_limit
from bench.upstream import ROOT

TOOLS = ROOT / ".bench"
RESULTS = ROOT / "bench" / "results"
ESSENTIAL = {"nginx", "quaymaster"}
NEEDED = {"wrk": "wrk", "nginx": "nginx", "curl": "curl", "taskset": "util-linux", "setpriv": "util-linux"}
"""Programs, and Debian's packages that hold them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(arguments)
    latest = RESULTS / ("quick.json" if options.quick else "latest.json")
    if options.table:
        if not latest.exists():
            print(f"bench: nothing was measured yet: there is no {latest.relative_to(ROOT)}", file=sys.stderr)
            return 2
        _print(json.loads(latest.read_text()), report.markdown)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that everything started is stopped
    try:
        _require_programs()
        available = os.sched_getaffinity(0)
        cores = Cores.choose(available)
    except UnfitMachine as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {cores.generator})
    raise_file_limit()
    document: dict[str, Any] = {}
    for document in _measured(_plan(options), cores, machine.description(available)):
        RESULTS.mkdir(exist_ok=True)
        latest.write_text(_json(document))
        latest.with_suffix(".svg").write_text(picture.svg(document))
    _print(document, report.aligned)
    print(f"\nmedians of {document['rounds']}; every figure is in {latest.relative_to(ROOT)}, a picture beside it")
    return 1 if any(_failed(document["contenders"].get(title)) for title in ESSENTIAL) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Our speed beside our peers' on this machine.")
    parser.add_argument("--quick", action="store_true", help="the essentials of what is installed, under two minutes")
    parser.add_argument("--rounds", type=int, help="how often everything is measured: 3 times, with --quick once")
    parser.add_argument("--only", type=_titles, help="some of the columns, as nginx,quaymaster,redis")
    parser.add_argument("--table", action="store_true", help="measure nothing: print the last run's tables as Markdown")
    return parser.parse_args(arguments)


def _titles(names: str) -> list[str]:
    known = [part.contender.title for part in plan.full(1).parts]
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} unknown; there are: {', '.join(known)}")
    return names.split(",")


def _plan(options: argparse.Namespace) -> rounds.Plan:
    whole = plan.quick(options.rounds or 1) if options.quick else plan.full(options.rounds or 3)
    if options.only is None:
        return whole
    chosen = [tuple(part for part in group if part.contender.title in options.only) for group in whole.groups]
    return replace(whole, groups=tuple(group for group in chosen if group))


def _measured(wanted: rounds.Plan, cores: Cores, about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The document of the run, with what there is to say `about` the machine, after each round that is over."""
    started_at = datetime.now(UTC)
    TOOLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=TOOLS) as folder:
        for number, entries in rounds.run(wanted, cores=cores, tools=TOOLS, folder=Path(folder), say=_say):
            context = {
                "started_at": started_at.isoformat(timespec="seconds"),
                "took_seconds": round((datetime.now(UTC) - started_at).total_seconds()),
                "machine": about,
                "rounds": number,
                "file_bytes": wanted.big_bytes,
            }
            yield report.document(entries, context)


def _json(document: Mapping[str, Any]) -> str:
    """With the turns of a figure on one line."""
    return re.sub(r"\[[-+\d.e,\s]+\]", lambda turns: " ".join(turns[0].split()), json.dumps(document, indent=1)) + "\n"


def _print(document: Mapping[str, Any], form: Callable[[Sequence[Sequence[str]]], str]) -> None:
    for table in (*report.tables(document), marks.table(document)):
        print(f"\n{form(table)}")
    print()
    for remark in report.remarks(document):
        print(f"note: {remark}")


def _failed(contender: Mapping[str, Any] | None) -> bool:
    return contender is not None and (contender["skipped"] is not None or bool(contender["refused"]))


def _require_programs() -> None:
    packages = {package for program, package in NEEDED.items() if shutil.which(program) is None}
    if packages:
        raise UnfitMachine(f"programs are missing; on Debian: apt-get install {' '.join(sorted(packages))}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
