"""What the binary is made of, as CycloneDX 1.6: python3 deploy/sbom.py TARGET >sbom.cdx.json, from the root of the project.

TARGET is a target of rustc, such as x86_64-unknown-linux-musl. Listed are the crates that are linked for it, by Cargo.lock; not
what only builds or tests. The same sources give the same bytes."""

import json
import subprocess
import sys
import tomllib
import uuid


def cargo(*command):
    return subprocess.run(["cargo", *command, "--locked"], check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(target):
    """Each package that is linked, by its id, and the ids of those that it needs.

    `cargo tree` alone knows the features without those that only tests ask for, and `cargo metadata` the rest."""
    lines = cargo("tree", "--edges=normal,no-proc-macro", f"--target={target}", "--prefix=none", "--format={p}").splitlines()
    names = {tuple(line.split()[:2]) for line in lines}
    found = json.loads(cargo("metadata", "--format-version=1", f"--filter-platform={target}"))
    packages = {each["id"]: each for each in found["packages"] if (each["name"], "v" + each["version"]) in names}
    nodes = {node["id"]: node["dependencies"] for node in found["resolve"]["nodes"]}
    needs = {id: sorted(need for need in nodes[id] if need in packages) for id in sorted(packages)}
    return found["resolve"]["root"], packages, needs


def component(package, checksums):
    name, version = package["name"], package["version"]
    made = {"type": "library", "bom-ref": f"pkg:cargo/{name}@{version}", "name": name, "version": version}
    if package["license"]:
        # Old crates separate alternatives by a slash.
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if (name, version) in checksums:
        made["hashes"] = [{"alg": "SHA-256", "content": checksums[name, version]}]
    return made | {"purl": made["bom-ref"]}


def main(target):
    with open("Cargo.lock", "rb") as file:
        lock = tomllib.load(file)
    checksums = {(each["name"], each["version"]): each["checksum"] for each in lock["package"] if "checksum" in each}
    root, packages, needs = linked(target)
    made = {id: component(packages[id], checksums) for id in needs}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": made.pop(root) | {"type": "application"},
            "properties": [{"name": "cargo:target", "value": target}],
        },
        "components": list(made.values()),
        "dependencies": [
            {"ref": component(packages[id], {})["bom-ref"], "dependsOn": [component(packages[need], {})["bom-ref"] for need in needs[id]]}
            for id in needs
        ],
    }
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    json.dump(document, sys.stdout, indent=1)
    print()


main(*sys.argv[1:])
