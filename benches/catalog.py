"""The catalog of a benchmark: two editions over the data's images, in the words of `manifests/`."""

import io
import tarfile
from pathlib import Path

from data import RUNTIME, digest

FILES = "files.example"
RELEASE = "v1.36.4+rke2r1"

RKE2 = f"""name: rke2
title: RKE2
about: Kubernetes
version: {RELEASE}
licence: Apache-2.0
namespace: kube-system
delivery: rke2
provides: [dns, cni, ingress]
release:
  version: {RELEASE}
  runtimeImage: {RUNTIME}
  files:
    - {{name: rke2.linux-amd64.tar.gz, url: "https://{FILES}/rke2.linux-amd64.tar.gz", platform: linux/amd64, staged: true}}
    - {{name: sha256sum-amd64.txt, url: "https://{FILES}/sha256sum-amd64.txt", platform: linux/amd64, staged: true}}
    - {{name: install.sh, url: "https://{FILES}/v1.36.4%2Brke2r1/install.sh", staged: true}}
    - {{name: rke2-images-core.linux-amd64.txt, url: "https://{FILES}/rke2-images-core.linux-amd64.txt", platform: linux/amd64}}
images:
  - {RUNTIME}
rke2:
  server:
    cni: [none]
    ingress-controller: [none]
"""

COMPONENT = """name: {name}
title: {name}
about: for measuring
version: v1.0.0
licence: Apache-2.0
namespace: {name}
delivery: {delivery}
{provides}chart:
  name: {name}
  version: 1.0.0
  url: "https://{files}/{name}-1.0.0.tgz"
images: [{images}]
"""

EDITION = """name: {name}
title: {name}
about: for measuring
minNodes: 1
components: [{components}]
"""


def chart(name):
    """A chart with some templates; the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        def add(path, text):
            info = tarfile.TarInfo(f"{name}/{path}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        add("Chart.yaml", f"apiVersion: v2\nname: {name}\nversion: 1.0.0\n")
        add("values.yaml", "replicas: 1\n")
        for number in range(20):
            add(f"templates/{number}.yaml",
                f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: map-{number}\ndata:\n  key: value\n" * 3)
    return buffer.getvalue()


def write(folder, data, images, bulk):
    """Writes the catalog, and what its download site serves."""
    folder = Path(folder)
    manifests, files = folder / "manifests", folder / "files"
    for part in ("components", "editions", "sites", "static"):
        (manifests / part).mkdir(parents=True, exist_ok=True)
    files.mkdir(parents=True, exist_ok=True)

    # kept between runs, as the layers are; nobody opens it, so its end may be missing
    archive = data.layer(900, data.release_size * 5 // 4)
    content = (data.blobs / archive["digest"][7:]).read_bytes()[:data.release_size]
    lists = (RUNTIME + "\n").encode()
    (files / "rke2.linux-amd64.tar.gz").write_bytes(content)
    (files / "rke2-images-core.linux-amd64.txt").write_bytes(lists)
    (files / RELEASE).mkdir(exist_ok=True)
    (files / RELEASE / "install.sh").write_text("#!/bin/sh\nexit 0\n")
    (files / "sha256sum-amd64.txt").write_text(
        f"{digest(content)[7:]}  rke2.linux-amd64.tar.gz\n{digest(lists)[7:]}  rke2-images-core.linux-amd64.txt\n")

    (manifests / "components/rke2.yaml").write_text(RKE2)
    for name, names, delivery, provides in (
        ("argo-cd", images, "helmChart", "provides: [gitops]\n"), ("bulk", bulk, "argoCd", ""),
    ):
        (files / f"{name}-1.0.0.tgz").write_bytes(chart(name))
        (manifests / f"components/{name}.yaml").write_text(COMPONENT.format(
            name=name, files=FILES, delivery=delivery, provides=provides,
            images=", ".join(f'"{image}"' for image in names)))
    for name, components in (("small", "rke2, argo-cd"), ("large", "rke2, argo-cd, bulk")):
        (manifests / f"editions/{name}.yaml").write_text(EDITION.format(name=name, components=components))
    for site in ("onprem", "aws"):
        (manifests / f"sites/{site}.yaml").write_text(f"name: {site}\ntitle: {site}\nabout: for measuring\n")
    (manifests / "registries.yaml").write_text("mirrorHosts: [docker.io, registry.example]\n")
    return files
