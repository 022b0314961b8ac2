"""The same transfers over a distant link: 20 ms there and back, 100 Mbit/s.

There the line is the limit, and what is measured is for how much of the time it stands still, while requests wait for answers one after the
other. The data is small, so that a row takes no minutes: three images that share a base, a release of 1 MB, 4 MB for each node.
"""

import contextlib
import random
import shutil

from bench import Bench
from data import LAYER, MB, REGISTRY, RUNTIME, SEED, Data
from link import link
from measure import median

BITS, ROUND_TRIP = 100_000_000, 0.020


class Few(Data):
    """Three images of 3 MB that share a base of 5 MB."""

    release_size = 1 * MB

    def random(self, number, size):
        content = random.Random(f"far {SEED} {number}").randbytes(size)
        return self.blob(b"\x1f\x8b" + content, LAYER)

    def make(self):
        layers = [self.random(number, size * MB) for number, size in enumerate([5] + [3] * 3)]
        for number, own in enumerate(layers[1:]):
            self.images[f"{REGISTRY}/far/app-{number:02}:1.0"] = self.image([layers[0], own])
        self.images[RUNTIME] = self.image([self.blob(b"\x1f\x8bruntime", LAYER)])


class Distant(Bench):
    """Rows of their own, added to those of another run."""

    where = "distant"

    def __init__(self, near):
        work, fast = near.work / "distant", near.fast / "distant"
        for folder in (work, fast):
            folder.mkdir(exist_ok=True)
        super().__init__(work, fast, near.airgap, near.transfer, near.data.scale, near.repetitions, Few(near.work, near.data.scale))
        self.rows = near.rows

    def through(self, ports):
        return link(ports, BITS, ROUND_TRIP)

    def measure(self):
        """Bundles, pushes and stages."""
        with contextlib.ExitStack() as stack:
            self.prepare()
            self.serve(stack)
            self.busy(self.fetching(0.8), self.data.total(self.small))
        bundle = self.only(self.fast / "out")
        first, _ = self.pushing(bundle, 0.6)
        self.busy(first, bundle.stat().st_size)
        content = self.data.blobs / self.data.random(100, 4 * MB)["digest"][7:]
        ours = self.staging(content, 1.1)
        self.busy(ours, 4 * content.stat().st_size)
        shutil.rmtree(self.fast)

    def busy(self, usages, sent):
        """Notes in the last row for how much of our time the line was busy with our bytes."""
        self.rows[-1]["line"] = round(sent * 8 / BITS / median(usages), 3)
        print(f"   of the line: {self.rows[-1]['line']:.0%}", flush=True)
