"""`make bench-growth`: time and memory against the number of images, the size of a blob and the number of nodes.

Nothing is compared here; the numbers must grow in proportion or less. The line through them is what docs/performance.md reckons with.
"""

import contextlib
import json
import random
import shutil
from pathlib import Path

import servers
from bench import Bench
from data import LAYER, REGISTRY, RUNTIME, Data
from measure import interleaved, median, run

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
IMAGES = (10, 100, 1000)
BLOBS = (KB, MB, 64 * MB, GB, 4 * GB)
NODES = (1, 4, 16, 64)


class Grown(Data):
    """Images of one layer each: so many, of so many bytes."""

    def __init__(self, work, count, size):
        super().__init__(work, 1.0)
        self.count, self.size = count, size

    def make(self):
        for number in range(self.count):
            if self.size > 16 * MB:
                layer = self.noise(f"grown-{number}", self.size)
            else:
                content = b"\x1f\x8b" + random.Random(f"{number} {self.size}").randbytes(self.size - 2)
                layer = self.blob(content, LAYER)
            self.images[f"{REGISTRY}/team/app-{number:04}:1.0"] = self.image([layer])
        self.images[RUNTIME] = self.image([self.blob(b"\x1f\x8bruntime", LAYER)])


def transfers(bench):
    """Bundles from a warm cache, verifies, lists and pushes; returns time and memory of each."""
    with contextlib.ExitStack() as stack:
        bench.prepare()
        bench.serve(stack)
        bench.bundle()
        key = bench.keys / "airgap.pub"

        def push():
            with servers.empty_registry(bench.fast / "registry", bench.certificate) as port:
                return bench.push(port, bench.only(bench.fast / "out"))

        steps = {
            "bundle": lambda: bench.bundle()[0],
            "verify": lambda: bench.run_airgap("verify", "--key", key, bench.only(bench.fast / "out")),
            "inspect": lambda: bench.run_airgap("inspect", "--json", "--key", key, bench.only(bench.fast / "out")),
            "push": push,
        }
        found = {}
        for name, step in steps.items():
            (usages,) = interleaved(3, step)
            found[name] = {"wall": round(median(usages), 3), "cpu": round(median(usages, "cpu"), 3),
                           "peakRss": max(usage.rss for usage in usages)}
        return found


def line(points):
    """The straight line through points, by least squares: what each begins with, and what one more costs."""
    count = len(points)
    mean_x, mean_y = (sum(point[axis] for point in points) / count for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    return {"start": mean_y - slope * mean_x, "each": slope}


def measure(options, work, fast):
    """Measures all three, writes growth.json, prints the tables, and puts them into a page."""
    report = {"images": {}, "blobs": {}, "nodes": {}}

    def fresh(data):
        shutil.rmtree(fast, ignore_errors=True)
        fast.mkdir(parents=True)
        return Bench(work, fast, options.airgap, options.transfer, 1.0, 3, data)

    limit = options.most_images or IMAGES[-1]
    for count in (count for count in IMAGES if count <= limit):
        report["images"][count] = transfers(fresh(Grown(work, count, 64 * KB)))
        print(f"   {count} images: {report['images'][count]}", flush=True)
    largest = options.most_bytes or BLOBS[-1]
    for size in (size for size in BLOBS if size <= largest):
        report["blobs"][size] = transfers(fresh(Grown(work, 1, size)))
        print(f"   a blob of {size} bytes: {report['blobs'][size]}", flush=True)
    nodes = options.most_nodes or NODES[-1]
    bench = fresh(Grown(work, 1, KB))
    bench.data.make()
    archive = bench.data.layer(900, 35_000_000)
    for count in (count for count in NODES if count <= nodes):
        report["nodes"][count] = staged(bench, bench.data.blobs / archive["digest"][7:], count)
        print(f"   {count} nodes: {report['nodes'][count]}", flush=True)

    model = {}
    for what in ("bundle", "verify", "push"):
        model[f"{what}, per image"] = line([(count, found[what]["wall"]) for count, found in report["images"].items()])
        model[f"{what}, per byte"] = line([(size, found[what]["wall"]) for size, found in report["blobs"].items()])
    model["stage, per node"] = line([(count, found["wall"]) for count, found in report["nodes"].items()])
    report["model"] = model
    Path(work, "growth.json").write_text(json.dumps(report, indent=2) + "\n")
    shown = tables(report)
    print(shown)
    if options.docs:
        page = Path(options.docs)
        before, rest = page.read_text().split("<!-- growth -->\n", 1)
        page.write_text(f"{before}<!-- growth -->\n{shown}\n<!-- /growth -->{rest.split('<!-- /growth -->', 1)[1]}")


def bytes_in_words(size):
    """A power of two as people write it."""
    return next(f"{size // unit} {name}" for unit, name in ((GB, "GiB"), (MB, "MiB"), (KB, "KiB")) if size >= unit)


def tables(report):
    """The numbers and the lines through them, as Markdown."""
    def cell(found):
        return f"{found['wall']:.3f} s, {found['cpu']:.2f} s CPU, {found['peakRss'] / 1e6:.0f} MB"

    steps = ("bundle", "verify", "inspect", "push")
    lines = ["| | " + " | ".join(steps) + " |", "|---" * 5 + "|"]
    for name, rows in (("{} images of 64 KiB", report["images"]), ("a blob of {}", report["blobs"])):
        for count, found in rows.items():
            label = name.format(bytes_in_words(count) if "blob" in name else f"{count:,}".replace(",", " "))
            lines.append(f"| {label} | " + " | ".join(cell(found[step]) for step in steps) + " |")
    lines += ["", "| 35 MB to so many SSH servers of this machine | |", "|---|---|"]
    lines += [f"| {count} | {cell(found)} |" for count, found in report["nodes"].items()]
    lines += ["", "| the straight line through | begins with | and each one more costs |", "|---|---|---|"]
    for name, found in report["model"].items():
        each = f"{found['each'] * 1e9:.2f} ns" if name.endswith("byte") else f"{found['each'] * 1e3:.2f} ms"
        lines.append(f"| {name} | {found['start']:.2f} s | {each} |")
    return "\n".join(lines)


def staged(bench, content, count):
    """Puts 35 MB on so many SSH servers of this one machine."""
    folder = bench.fast / "ssh"
    with servers.sshds(folder, count) as ports:
        inventory = servers.inventory(folder, ports)

        def once():
            for number in range(count):
                shutil.rmtree(folder / f"n{number}", ignore_errors=True)
                (folder / f"n{number}").mkdir()
            return run([bench.transfer, "stage", inventory, content, folder, 10], env=bench.env)

        (usages,) = interleaved(3, once)
    return {"wall": round(median(usages), 3), "cpu": round(median(usages, "cpu"), 3), "peakRss": max(u.rss for u in usages)}
