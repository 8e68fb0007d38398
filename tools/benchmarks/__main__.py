"""The command line of tools/benchmark."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.areas import AREAS
from benchmarks.areas.setting import Setting
from benchmarks.contest import run_rows
from benchmarks.environments import CACHE, environments
from benchmarks.report import Limits, table, write_report

INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")


def main() -> None:
    options = parse_options()
    if options.report:
        document, *files = options.report
        write_report(Path(document), merged([json.loads(Path(file).read_text()) for file in files]))
        return
    results = measure(options)
    if not any(r["median"] for row in results["rows"] for r in row["contestants"].values()):
        sys.exit("Nothing was measured.")


def measure(options: argparse.Namespace) -> dict:
    """Run what was asked for; print and keep each row as soon as it is there."""
    start = time.monotonic()
    areas = options.only or list(AREAS)
    CACHE.mkdir(parents=True, exist_ok=True)
    print(f"Measuring {', '.join(areas)}, on {options.threads} threads. Kept in {CACHE}.")
    prepared = environments(peers=options.peers)
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "threads": options.threads,
        "small": options.small,
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(peers=options.peers, small=options.small, folder=Path(folder))
        for area in areas:
            print(f"\n### {area}", flush=True)
            rows = AREAS[area](setting)
            for result in run_rows(rows, prepared, threads=options.threads, rounds=options.rounds):
                results["rows"].append(result)
                if options.json:
                    keep(results, options.json)
                print(f"\n{table(result, Limits(results['rows']))}", flush=True)
            if area == "limits":
                print(f"\n{Limits(results['rows'])}")
            took = sum(row["took"] for row in results["rows"] if row["area"] == area)
            print(f"\n{area} took {took / 60:.1f} minutes.", flush=True)
    print(f"\nTook {(time.monotonic() - start) / 60:.1f} minutes.")
    return results


def merged(runs: list[dict]) -> dict:
    """Return the first of several runs on one machine, with the areas that only later ones have."""
    results = dict(runs[0], rows=list(runs[0]["rows"]))
    pythons = sorted({run["machine"]["python"] for run in runs})
    results["machine"] = results["machine"] | {"python": " and ".join(pythons)}
    for run in runs[1:]:
        if run["machine"] | {"python": results["machine"]["python"]} != results["machine"]:
            sys.exit("The files are of different machines.")
        there = {row["area"] for row in results["rows"]}
        results["rows"] += [row for row in run["rows"] if row["area"] not in there]
    return results


def keep(results: dict, file: Path) -> None:
    """Write the results so far; a run that is interrupted leaves whole ones."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(json.dumps(results, indent=1))
    unfinished.replace(file)


def machine() -> dict:
    """Return what the figures depend on."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    facts = {name.strip(): value.strip() for name, _, value in lines}
    flags = facts.get("flags", facts.get("Features", "")).split()
    processor = facts.get("model name", platform.machine())
    if "cpu family" in facts:  # clouds often tell no more than the brand
        processor += f" (family {facts['cpu family']}, model {facts['model']})"
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_gb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
    }


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmark",
        description="Measure tfhf, its peers and the machine's limits, in turns.",
    )
    add = parser.add_argument
    add(
        "--only",
        action="append",
        choices=list(AREAS),
        metavar="NAME",
        help=f"measure this area only; can be repeated: {', '.join(AREAS)}",
    )
    add("--peers", action="store_true", help="install the peers and let them take part")
    add("--json", type=Path, metavar="FILE", help="write the results there too, row by row")
    add("--small", action="store_true", help="tiny models: shows that it works, measures nothing")
    add("--rounds", type=int, default=2, help="turns of each contestant, at least (default: 2)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    add(
        "--report",
        nargs="+",
        metavar=("DOCUMENT", "FILE"),
        help="measure nothing; write the results of --json FILEs between the document's markers",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
