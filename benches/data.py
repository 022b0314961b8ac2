"""The data of a benchmark: layers of real files, images that share them, a registry that serves them, and a catalog that names them.

The same seed and the same files under /usr give the same bytes. What was made is kept under the work folder and used again.
"""

import concurrent.futures
import hashlib
import json
import os
import random
import shutil
import subprocess
from pathlib import Path

SEED = 7
MB = 1_000_000
IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
REGISTRY = "registry.example"
RUNTIME = "docker.io/rancher/rke2-runtime:v1.36.4-rke2r1"
# the image whose own layer changes between the two locks; a large one, so that what always travels does not hide it
CHANGED = 0


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def file_digest(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


class Data:
    """Blobs by digest under `blobs/`, and the images made of them."""

    # bytes of the archive that is put on nodes, as large as RKE2's
    release_size = 35 * MB

    def __init__(self, work, scale):
        self.root = Path(work) / "data"
        self.scale = scale
        self.blobs = self.root / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.images = {}
        self.changed = None
        self.files = self._files()

    def _files(self):
        """Real files of this machine, in a fixed order."""
        found = []
        for folder in ("/usr/bin", "/usr/lib", "/usr/share"):
            for top, folders, names in os.walk(folder):
                folders.sort()
                for name in sorted(names):
                    path = os.path.join(top, name)
                    if os.path.islink(path) or not os.path.isfile(path):
                        continue
                    size = os.path.getsize(path)
                    if 0 < size <= 32 * MB and "\n" not in path:
                        found.append((path, size))
        return found

    def layer(self, number, wanted):
        """A gzip-compressed tar of about so many bytes; returns digest and size."""
        note = self.root / f"layer-{SEED}-{number}-{wanted}"
        if note.exists():
            found = json.loads(note.read_text())
            if (self.blobs / found["digest"][7:]).exists():
                return found
        choose = random.Random(f"{SEED} {number}")
        part = self.root / f"part-{number}"
        names, raw = [], 0
        # files of /usr shrink to a little more than a third; one that is larger than the layer would make it another size
        fitting = [file for file in self.files if file[1] <= wanted]
        while raw < wanted * 2.75:
            path, size = choose.choice(fitting)
            names.append(path)
            raw += size
        subprocess.run(
            ["bash", "-o", "pipefail", "-c",
             "tar -c --hard-dereference --no-recursion --ignore-failed-read --warning=none -P --mtime=@0 --owner=0 --group=0 "
             f"--numeric-owner --null -T - | gzip -n -1 > {part}"],
            input="\0".join(names).encode(), check=True, stderr=subprocess.DEVNULL,
        )
        return self._keep(part, note)

    def noise(self, number, wanted):
        """A blob that does not shrink in its first 8 MB and is a hole from there on: large, and cheap to make."""
        note = self.root / f"noise-{SEED}-{number}-{wanted}"
        if note.exists():
            return json.loads(note.read_text())
        part = self.root / f"part-noise-{number}"
        part.write_bytes(b"\x1f\x8b" + random.Random(f"noise {SEED} {number}").randbytes(8 * MB))
        os.truncate(part, wanted)
        return self._keep(part, note)

    def _keep(self, part, note):
        found = {"digest": file_digest(part), "size": part.stat().st_size, "mediaType": LAYER}
        part.rename(self.blobs / found["digest"][7:])
        note.write_text(json.dumps(found))
        return found

    def blob(self, content, media_type):
        name = digest(content)
        path = self.blobs / name[7:]
        if not path.exists():
            path.write_bytes(content)
        return {"digest": name, "size": len(content), "mediaType": media_type}

    def image(self, layers):
        config = self.blob(json.dumps({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }).encode(), CONFIG)
        return self.blob(json.dumps({
            "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers,
        }).encode(), IMAGE) | {"blobs": [config, *layers]}

    def make(self):
        """Makes all images: 60 that share six bases, and twelve large ones of holes for the large edition."""
        choose = random.Random(SEED)
        large = [int(250 * MB * self.scale)] * 2
        sizes = [int(40 * MB * self.scale)] * 6 + large
        sizes += [int(choose.choice([1, 2, 4, 8, 16, 30]) * MB * self.scale) for _ in range(60)]
        sizes.append(large[0])
        # the largest first, so that no core waits for one at the end
        order = sorted(range(len(sizes)), key=lambda number: -sizes[number])
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            made = dict(zip(order, pool.map(lambda number: self.layer(number, sizes[number]), order)))
        layers = [made[number] for number in range(len(sizes))]
        bases, big, own, other = layers[:6], layers[6:8], layers[8:68], layers[68]
        for number in range(60):
            content = [bases[number % 6], own[number]]
            if number in (0, 30):
                content.append(big[number // 30])
            self.images[f"{REGISTRY}/team/app-{number:02}:1.0"] = self.image(content)
        self.changed = self.image([bases[0], own[0], other])
        for number in range(12):
            hole = self.noise(number, int(375 * MB * self.scale))
            self.images[f"{REGISTRY}/bulk/image-{number:02}:1.0"] = self.image([hole])
        self.images[RUNTIME] = self.image([bases[5]])

    def small(self):
        """Names of the images of the small edition."""
        return [name for name in self.images if "/bulk/" not in name]

    def total(self, names):
        """Bytes of what these images hold, each blob once."""
        blobs = {blob["digest"]: blob["size"] for name in names for blob in self.images[name]["blobs"]}
        return sum(blobs.values())

    def fill_registry(self, root):
        """Lays everything out as docker-registry keeps it, by hard links."""
        shutil.rmtree(root, ignore_errors=True)
        store = root / "docker/registry/v2"
        for name, image in self.images.items():
            repository, tag = name.split("/", 1)[1].rsplit(":", 1)
            folder = store / "repositories" / repository
            for manifest in (image, self.changed) if name == self.changed_name() else (image,):
                self._link(store, folder / "_manifests/revisions/sha256", manifest["digest"])
                for blob in manifest["blobs"]:
                    self._link(store, folder / "_layers/sha256", blob["digest"])
            self.tag(root, name, image)

    def _link(self, store, folder, name):
        blob = store / "blobs/sha256" / name[7:9] / name[7:] / "data"
        if not blob.exists():
            blob.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.blobs / name[7:], blob)
        link = folder / name[7:] / "link"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_text(name)

    def changed_name(self):
        return f"{REGISTRY}/team/app-{CHANGED:02}:1.0"

    def tag(self, root, name, image):
        """Points a tag at an image."""
        repository, tag = name.split("/", 1)[1].rsplit(":", 1)
        folder = root / "docker/registry/v2/repositories" / repository / "_manifests/tags" / tag
        for link in (folder / "current/link", folder / "index/sha256" / image["digest"][7:] / "link"):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.write_text(image["digest"])
