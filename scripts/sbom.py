#!/usr/bin/env python3
"""Writes a CycloneDX 1.6 bill of materials of one binary: sbom.py TRIPLE BINARY > sbom.json

Everything comes from `cargo metadata` and Cargo.lock, so it lists what was linked, for that target
only: package URL, licence, checksum, and who depends on whom. Crates that only ran at build time are
listed with the scope "excluded"; those whose name ends in -src carry C sources that are linked, and
are "required". The same inputs give the same bytes.
"""

import hashlib
import json
import os
import subprocess
import sys
import tomllib
import uuid


def main(triple, binary):
    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", triple],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    checksums = {
        (entry["name"], entry["version"]): entry.get("checksum")
        for entry in tomllib.load(open("Cargo.lock", "rb"))["package"]
    }

    # a procedural macro runs in the compiler, with all it depends on
    macros = {id for id, package in packages.items() if any("proc-macro" in t["kind"] for t in package["targets"])}
    linked = reach(nodes, root, lambda kind: kind is None, without=macros)
    sources = {id for id in reach(nodes, root, lambda kind: kind != "dev") if packages[id]["name"].endswith("-src")}
    everything = reach(nodes, root, lambda kind: kind != "dev")
    required = linked | sources

    components = [
        component(packages[id], checksums, "required" if id in required else "excluded")
        for id in everything
        if id != root
    ]
    components.sort(key=lambda entry: entry["bom-ref"])
    dependencies = [
        {
            "ref": purl(packages[id]),
            "dependsOn": sorted(
                {purl(packages[dep["pkg"]]) for dep in nodes[id]["deps"] if dep["pkg"] in everything and is_used(dep)}
            ),
        }
        for id in everything
    ]
    dependencies.sort(key=lambda entry: entry["ref"])

    content = open(binary, "rb").read()
    sha256 = hashlib.sha256(content).hexdigest()
    about = component(packages[root], checksums, None)
    about["type"] = "application"
    about["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, 'sha256:' + sha256)}",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(),
            "component": about,
            "properties": [{"name": "cargo:target", "value": triple}],
        },
        "components": components,
        "dependencies": dependencies,
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=True)
    print()


def reach(nodes, root, wanted, without=frozenset()):
    """Returns the packages reached from the root over dependencies of the wanted kinds."""
    seen, open_ = {root}, [root]
    while open_:
        for dep in nodes[open_.pop()]["deps"]:
            if dep["pkg"] not in seen | without and any(wanted(kind["kind"]) for kind in dep["dep_kinds"]):
                seen.add(dep["pkg"])
                open_.append(dep["pkg"])
    return seen


def is_used(dep):
    return any(kind["kind"] != "dev" for kind in dep["dep_kinds"])


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def component(package, checksums, scope):
    entry = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if scope:
        entry["scope"] = scope
    if package.get("license"):
        # the old way of writing alternatives
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if package.get("description"):
        entry["description"] = " ".join(package["description"].split())
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def timestamp():
    """The commit's time, so that a release can be made again."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or subprocess.run(
        ["git", "log", "-1", "--format=%ct"], stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    import datetime

    return datetime.datetime.fromtimestamp(int(epoch or 0), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    main(*sys.argv[1:])
