#!/usr/bin/env python3
"""Writes what is in the program, as CycloneDX 1.5 JSON, from Cargo.lock and cargo's own resolver:
   deploy/package/sbom.py x86_64-unknown-linux-gnu > fanal.cdx.json
Crates that are only built for tests are left out; those that run at build time are marked. The same
commit gives the same file."""

import datetime
import json
import os
import subprocess
import sys
import tomllib

target = sys.argv[1]
asked = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
metadata = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout)
with open("Cargo.lock", "rb") as file:
    locked = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}
packages = {p["id"]: p for p in metadata["packages"]}
nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]


def is_macro(ident):
    return any("proc-macro" in t["kind"] for t in packages[ident]["targets"])


def below(start, kinds, skip=lambda ident: False):
    """The crates that `start` needs for these kinds of dependency, and those that they need."""
    found, waiting = set(), [start]
    while waiting:
        for dep in nodes[waiting.pop()]["deps"]:
            wanted = any(k["kind"] in kinds for k in dep["dep_kinds"]) and not skip(dep["pkg"])
            if wanted and dep["pkg"] not in found:
                found.add(dep["pkg"])
                waiting.append(dep["pkg"])
    return found


every = below(root, {None, "build"})
# Macros and build scripts run on the builder's machine alone.
linked = below(root, {None}, skip=is_macro)


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(ident):
    package = packages[ident]
    checksum = locked.get((package["name"], package["version"]))
    made = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "scope": "required" if ident in linked else "excluded",
        "purl": purl(package),
    }
    if package.get("license"):
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum:
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return made


def needs(ident):
    kept = every | {root}
    deps = sorted(purl(packages[d["pkg"]]) for d in nodes[ident]["deps"] if d["pkg"] in kept)
    return {"ref": purl(packages[ident]), "dependsOn": deps}


when = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
when = datetime.datetime.fromtimestamp(when, datetime.timezone.utc)
order = sorted(every, key=lambda ident: purl(packages[ident]))
main = packages[root]
bill = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {
        "timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "component": {
            "type": "application",
            "bom-ref": purl(main),
            "name": main["name"],
            "version": main["version"],
            "licenses": [{"expression": main["license"]}],
            "purl": purl(main),
        },
        "properties": [{"name": "target", "value": target}],
    },
    "components": [component(ident) for ident in order],
    "dependencies": [needs(ident) for ident in [root, *order]],
}
json.dump(bill, sys.stdout, indent=1, ensure_ascii=False)
print()
