"""Whether the sidecar can be lifted into any pod: python3 check.py MANIFESTS.

All that its container needs stands on itself, fits the pod security level "restricted", and is the same everywhere."""

import sys

import yaml

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
RESTRICTED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# What the pod would have to say for it.
NEEDS_NOTHING_OF = ("securityContext", "hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")


def pods(manifests):
    for manifest in manifests:
        template = (manifest or {}).get("spec", {}).get("template")
        if template:
            yield f"{manifest['kind']} {manifest['metadata']['name']}", template["spec"]


def main(path):
    with open(path, encoding="utf-8") as file:
        found = list(pods(yaml.safe_load_all(file)))
    assert len(found) > 1, f"{len(found)} pods"
    first = None
    for name, pod in found:
        for key in NEEDS_NOTHING_OF:
            assert key not in pod, f"{name}: {key} stands on the pod"
        (sidecar,) = [container for container in pod["initContainers"] if container["name"] == "sidebearer"]
        assert sidecar["restartPolicy"] == "Always", f"{name}: no native sidecar"
        context = sidecar["securityContext"]
        for key, value in RESTRICTED.items():
            assert context.get(key) == value, f"{name}: {key} is {context.get(key)}, not {value}"
        assert context["runAsUser"] > 0, f"{name}: it runs as root"
        for volume in pod["volumes"]:
            # For everyone for whom it is mounted: there is no fsGroup.
            mode = volume.get("secret", {}).get("defaultMode", 0o644)
            assert mode & 0o004, f"{name}: {volume['name']} can be read by root alone"
            assert not mode & 0o022, f"{name}: {volume['name']} can be written by others"
        lifted = (sidecar, pod["volumes"])
        first = first or lifted
        assert lifted == first, f"{name}: not the same sidecar as in the others"


main(sys.argv[1])
