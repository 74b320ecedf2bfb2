#!/usr/bin/env python3
"""Makes of what cargo-cyclonedx wrote the bill of materials of the binary; see scripts/sbom.sh.

What the tool lists too much, because Cargo has resolved it and nothing asks for it, is taken out: a scanner
would raise alarms about code that is not there. What runs while building (macros) gets the scope
"excluded", the rest "required". C code that crates bring along, and Rust's own library, are added.
"""

import argparse
import json
import re
import sys
from pathlib import Path

# Crates that bring C code along: its name, the file that tells its version, and how.
C_CODE = {
    "libsqlite3-sys": ("sqlite", "sqlite3/sqlite3.h", r'#define SQLITE_VERSION\s+"([\d.]+)"'),
    "aws-lc-sys": (
        "aws-lc",
        "aws-lc/include/openssl/base.h",
        r'#define AWSLC_VERSION_NUMBER_STRING "([\d.]+)"',
    ),
    "libmimalloc-sys": (
        "mimalloc",
        "c_src/mimalloc/v3/include/mimalloc.h",
        r"#define MI_MALLOC_VERSION (\d+)",
    ),
}


def packages(file):
    """Names and versions in what `cargo tree` prints."""
    found = set()
    for line in Path(file).read_text().splitlines():
        words = line.split()
        if len(words) >= 2:
            found.add((words[0], words[1].removeprefix("v")))
    return found


def reference(name, version):
    return f"pkg:cargo/{name}@{version}"


def c_components(metadata):
    for package in metadata["packages"]:
        known = C_CODE.get(package["name"])
        if not known:
            continue
        name, place, pattern = known
        header = Path(package["manifest_path"]).parent / place
        version = re.search(pattern, header.read_text()).group(1)
        if version.isdigit():
            version = f"{int(version) // 10000}.{int(version) // 100 % 100}.{int(version) % 100}"
        yield package, {
            "type": "library",
            "bom-ref": f"pkg:generic/{name}@{version}",
            "name": name,
            "version": version,
            "scope": "required",
            "description": f"C code within {package['name']}",
            "purl": f"pkg:generic/{name}@{version}",
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("raw")
    parser.add_argument("out")
    for name in ["tree", "linked", "metadata", "rustc"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--binary")
    options = parser.parse_args()
    bill = json.loads(Path(options.raw).read_text())
    tree, linked = packages(options.tree), packages(options.linked)
    metadata = json.loads(Path(options.metadata).read_text())

    program = bill["metadata"]["component"]
    program.pop("components", None)
    references = {}
    components = []
    for component in [program, *bill["components"]]:
        name, version = component["name"], component["version"]
        references[component["bom-ref"]] = reference(name, version)
        component["bom-ref"] = component["purl"] = reference(name, version)
        if component is program or (name, version) not in tree:
            continue
        component["scope"] = "required" if (name, version) in linked else "excluded"
        components.append(component)
    depends = {}
    kept = {component["bom-ref"] for component in [program, *components]}
    for entry in bill["dependencies"]:
        ref = references.get(entry["ref"])
        if ref in kept:
            below = [references.get(other) for other in entry.get("dependsOn", [])]
            depends[ref] = sorted({other for other in below if other in kept})

    for package, component in c_components(metadata):
        if (package["name"], package["version"]) in linked:
            components.append(component)
            depends[reference(package["name"], package["version"])].append(component["bom-ref"])
            depends[component["bom-ref"]] = []
    rust = dict(line.split(": ", 1) for line in options.rustc.splitlines() if ": " in line)
    standard = f"pkg:generic/rust-std@{rust['release']}"
    components.append(
        {
            "type": "library",
            "bom-ref": standard,
            "name": "rust-std",
            "version": rust["release"],
            "scope": "required",
            "description": f"Rust's own library, {rust['commit-hash']}, for {rust['host']}",
            "purl": standard,
        }
    )
    depends[program["bom-ref"]].append(standard)
    depends[standard] = []

    bill["components"] = sorted(components, key=lambda component: component["bom-ref"])
    bill["dependencies"] = [
        {"ref": ref, "dependsOn": below} for ref, below in sorted(depends.items())
    ]
    text = json.dumps(bill, indent=2, sort_keys=True) + "\n"

    faults = []
    listed = {(component["name"], component["version"]) for component in [program, *components]}
    required = {c["name"] for c in [program, *components] if c["scope"] == "required"}
    faults += [f"{name} {version} is in cargo tree and not here" for name, version in tree - listed]
    faults += [f"{name}: no C code of it was found" for name in C_CODE if C_CODE[name][0] not in required]
    faults += [f"{c['name']} has no licence" for c in components
               if not c.get("licenses") and not c["purl"].startswith("pkg:generic/")]
    faults += [f"a path of this machine: {path}" for path in re.findall(r"file://[^\"]*", text)]
    n_named = 0
    if options.binary:
        # Panics and line tables name the folders of the sources of what is in the binary.
        pattern = rb"(?:/registry|crates\.io-[0-9a-f]+)/([A-Za-z0-9_-]+?)-(\d+\.\d+\.\d+[A-Za-z0-9.+-]*)[/\0]"
        named = set(re.findall(pattern, Path(options.binary).read_bytes()))
        named = {(name.decode(), version.decode()) for name, version in named}
        n_named = len(named)
        linked_here = {(c["name"], c["version"]) for c in components if c["scope"] == "required"}
        faults += [f"{name} {version} is in the binary and not here"
                   for name, version in named - linked_here]
        if n_named < 100:
            faults.append(f"the binary names {n_named} sources: was it built without line tables?")
    if faults:
        sys.exit("\n".join(f"sbom: {fault}" for fault in sorted(faults)))
    Path(options.out).write_text(text)
    n_required = sum(component["scope"] == "required" for component in components)
    print(f"sbom: {options.out}: {n_required} components in the binary, "
          f"{len(components) - n_required} used to build it"
          + (f"; {n_named} that the binary names are among them" if options.binary else ""))


if __name__ == "__main__":
    main()
