"""Checks the manifests in deploy/: Kubernetes's by their published schemas, with each overlay applied; compose files as YAML.

Needs the packages kubernetes-validate (which brings the schemas) and jsonpatch.
"""

import pathlib
import sys

import jsonpatch
import kubernetes_validate
import yaml

# The first release with native sidecars on by default, and the newest whose schemas are there.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
DEPLOY = pathlib.Path(__file__).parent


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def rendered(folder):
    """What kustomize makes of a folder that has resources and JSON patches."""
    kustomization = documents(folder / "kustomization.yaml")[0]
    known = {"apiVersion", "kind", "resources", "patches", "images"}
    assert set(kustomization) <= known, f"{folder}: only {known} are understood here"
    found = []
    for resource in kustomization["resources"]:
        path = folder / resource
        found += rendered(path.resolve()) if path.is_dir() else documents(path)
    for patch in kustomization.get("patches", []):
        target = patch["target"]
        matching = [at for at, one in enumerate(found)
                    if one["kind"] == target["kind"] and one["metadata"]["name"] == target["name"]]
        assert matching, f"{folder}: nothing is {target}"
        for at in matching:
            found[at] = jsonpatch.apply_patch(found[at], documents(folder / patch["path"])[0])
    return found


def volumes_fit(manifest):
    """Each mount names a volume of its pod, which no schema says."""
    pod = manifest["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["initContainers"] + pod["containers"]:
        for mount in container.get("volumeMounts", []):
            assert mount["name"] in volumes, f"{container['name']}: no volume is called {mount['name']}"


checked = 0
for kustomization in sorted((DEPLOY / "k8s").rglob("kustomization.yaml")):
    for manifest in rendered(kustomization.parent):
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)
        if manifest["kind"] == "Deployment":
            volumes_fit(manifest)
        checked += 1
for compose in sorted(DEPLOY.glob("compose*.yaml")):
    assert documents(compose)[0]["services"], compose
print(f"{checked} manifests are valid for Kubernetes {' and '.join(VERSIONS)}")
sys.exit(0 if checked else 1)
