"""`make bench`: measures, writes target/bench/report.json, prints the table; ends with 1 when a bar is missed."""

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

GB = 1_000_000_000


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--work", required=True, help="folder for data, kept between runs, and for the report")
    parser.add_argument("--airgap", required=True, help="the release binary")
    parser.add_argument("--transfer", required=True, help="the binary of benches/transfer.rs")
    parser.add_argument("--scale", type=float, default=1.0, help="size of all layers, 1.0 is 1.5 GB")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--data", action="store_true", help="only make the data, which a run after it finds")
    parser.add_argument("--growth", action="store_true", help="measure growth instead, see growth.py")
    parser.add_argument("--most-images", type=int, help="growth: stop at so many images")
    parser.add_argument("--most-bytes", type=int, help="growth: stop at blobs of so many bytes")
    parser.add_argument("--most-nodes", type=int, help="growth: stop at so many nodes")
    parser.add_argument("--docs", help="a page to put the table into, between its markers, and the report beside it")
    parser.add_argument("--only", default="bundling,reading,pushing,staging,distant,installing,memory")
    return parser.parse_args()


def fast_folder(work, scale):
    """Memory where there is enough of it, so that a disk's moods are not measured; else the work folder."""
    wanted = 16 * GB * scale
    with contextlib.suppress(OSError):
        found = os.statvfs("/dev/shm")
        available = next(int(line.split()[1]) * 1024 for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
        if found.f_bavail * found.f_frsize > wanted and available > wanted + 2 * GB:
            return Path(f"/dev/shm/airgap-bench-{os.getpid()}")
    return Path(work) / "fast"


def table(rows):
    def show(value):
        if isinstance(value, dict) and "wall" in value:
            return f"{value['wall']:.3f} s, {value['cpu']:.2f} s CPU, {value['peakRss'] / 1e6:.0f} MB"
        if isinstance(value, int):
            return f"{value / 1e6:.1f} MB"
        return "" if value is None else "counts"

    lines = ["| row | ours | alternative | ratio | bar | holds |", "|---|---|---|---|---|---|"]
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3f}"
        lines.append(f"| {row['name']} | {show(row['ours'])} | {show(row['theirs'])} | {ratio} | {row['bar']} | "
                     f"{'yes' if row['holds'] else '**no**'} |")
    return "\n".join(lines)


def main():
    options = arguments()
    work = Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    from bench import Bench, machine
    from data import Data
    from distant import Distant

    if options.data:
        Data(work, options.scale).make()
        return
    fast = fast_folder(work, options.scale)
    shutil.rmtree(fast, ignore_errors=True)
    fast.mkdir(parents=True)
    if options.growth:
        import growth

        try:
            growth.measure(options, work, fast)
        finally:
            shutil.rmtree(fast, ignore_errors=True)
        return
    parts = options.only.split(",")
    begun = time.monotonic()
    bench = Bench(work, fast, options.airgap, options.transfer, options.scale, options.repetitions)
    timings = {}

    @contextlib.contextmanager
    def step(name):
        started = time.monotonic()
        print(f"== {name}", flush=True)
        yield
        timings[name] = round(time.monotonic() - started, 1)

    try:
        with contextlib.ExitStack() as stack:
            with step("data"):
                bench.prepare()
                bench.serve(stack)
            with step("bundling"):
                base, _ = bench.bundling()
            large = None
            # memory that a virtual machine is given for the first time is slow at first; so what needs the most of it comes early
            if "memory" in parts:
                with step("memory"):
                    large = bench.memory(base, work / "install-rss.jsonl")
            if "reading" in parts:
                with step("reading"):
                    bench.reading(base, large or bench.make_large()[1])
            shutil.rmtree(fast / "large", ignore_errors=True)
            if "pushing" in parts:
                with step("pushing"):
                    bench.pushing_again(*bench.pushing(base))
            if "staging" in parts:
                with step("staging"):
                    bench.staging(bench.files / "rke2.linux-amd64.tar.gz")
            if "distant" in parts:
                with step("distant"):
                    Distant(bench).measure()
            if "installing" in parts:
                bench.installing(work / "install-counts.json")
    finally:
        shutil.rmtree(fast, ignore_errors=True)
        for folder in ("cache-large", "registry", "tmp"):
            shutil.rmtree(work / folder, ignore_errors=True)
    report = {
        "machine": machine(), "bytes": bench.data.total(bench.small), "seconds": round(time.monotonic() - begun, 1),
        "medium": str(fast.parent), "steps": timings, "rows": bench.rows,
    }
    (work / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    shown = table(bench.rows)
    print(shown)
    if options.docs:
        page = Path(options.docs)
        before, rest = page.read_text().split("<!-- table -->\n", 1)
        after = rest.split("<!-- /table -->", 1)[1]
        of = report["machine"]
        note = (f"{of['cores']} cores of {of['cpu']}, {of['memory'] / 1e9:.0f} GB, Linux {of['kernel']}; "
                f"{report['bytes'] / 1e9:.2f} GB of images, written to {report['medium']}.")
        page.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
        page.write_text(f"{before}<!-- table -->\n{shown}\n\n{note}\n<!-- /table -->{after}")
    missed = [row["name"] for row in bench.rows if not row["holds"]]
    print(f"{len(bench.rows) - len(missed)} of {len(bench.rows)} bars hold; {work}/report.json; took {report['seconds']:.0f} s")
    for name in missed:
        print(f"missed: {name}")
    sys.exit(1 if missed else 0)


main()
