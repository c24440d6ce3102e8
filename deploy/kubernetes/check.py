"""Whether what is deployed can do its work and no more: python3 check.py sidecar MANIFESTS, or python3 check.py gateway
MANIFESTS CONFIGURATION.

The sidecar can be lifted into any pod: all that its container needs stands on itself, and is the same everywhere. The parts
of the gateway belong together, and it has no right that it does not use. Both fit the pod security level "restricted"."""

import re
import sys
import tomllib

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


def check_pod(name, pod, container):
    for key in NEEDS_NOTHING_OF:
        assert key not in pod, f"{name}: {key} stands on the pod"
    context = container["securityContext"]
    for key, value in RESTRICTED.items():
        assert context.get(key) == value, f"{name}: {key} is {context.get(key)}, not {value}"
    assert context["runAsUser"] > 0, f"{name}: it runs as root"
    for volume in pod["volumes"]:
        # For everyone for whom it is mounted: there is no fsGroup.
        mode = volume.get("secret", {}).get("defaultMode", 0o644)
        assert mode & 0o004, f"{name}: {volume['name']} can be read by root alone"
        assert not mode & 0o022, f"{name}: {volume['name']} can be written by others"


def check_sidecar(manifests):
    found = list(pods(manifests))
    assert len(found) > 1, f"{len(found)} pods"
    first = None
    for name, pod in found:
        (sidecar,) = [container for container in pod["initContainers"] if container["name"] == "sidebearer"]
        assert sidecar["restartPolicy"] == "Always", f"{name}: no native sidecar"
        check_pod(name, pod, sidecar)
        lifted = (sidecar, pod["volumes"])
        first = first or lifted
        assert lifted == first, f"{name}: not the same sidecar as in the others"


def seconds(duration):
    units = {"s": 1, "m": 60, "h": 3600}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smh])", duration))


def check_gateway(manifests, configuration):
    of_kind = {}
    for manifest in manifests:
        assert manifest["kind"] not in of_kind, f"two of {manifest['kind']}"
        of_kind[manifest["kind"]] = manifest
    deployment = of_kind["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    check_pod("gateway", pod, container)

    labels = deployment["template"]["metadata"]["labels"]
    selectors = {
        "Deployment": deployment["selector"]["matchLabels"],
        "Service": of_kind["Service"]["spec"]["selector"],
        "PodDisruptionBudget": of_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": of_kind["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    }
    for kind, selector in selectors.items():
        assert selector.items() <= labels.items(), f"{kind} is for other pods"
    target = of_kind["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", of_kind["Deployment"]["metadata"]["name"])
    assert "replicas" not in deployment, "the autoscaler says how many"

    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    addresses = [listener["address"] for listener in configuration["listeners"]] + [configuration["health"]["address"]]
    listened = {int(address.rsplit(":", 1)[1]) for address in addresses}
    assert set(ports.values()) == listened, f"ports {ports}, listened on {listened}"
    let_in = {port["port"] for rule in of_kind["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}
    assert let_in == set(ports), f"let in is {let_in}"
    for port in of_kind["Service"]["spec"]["ports"]:
        assert port["targetPort"] in ports, f"{port['targetPort']} is no port"
    assert "health" not in {port["targetPort"] for port in of_kind["Service"]["spec"]["ports"]}

    server = configuration["server"]
    ending = seconds(server["shutdown_delay"]) + seconds(server["drain_timeout"])
    assert pod["terminationGracePeriodSeconds"] > ending, f"it is killed before its {ending} s are over"
    mounts = [mount["mountPath"] + "/" for mount in container["volumeMounts"]]
    for path in re.findall(r"'(/run/secrets/[^']*)'", str(configuration)):
        assert any(path.startswith(mount) for mount in mounts), f"{path} is mounted nowhere"

    account = of_kind["ServiceAccount"]["metadata"]["name"]
    assert pod["serviceAccountName"] == account
    review = configuration["kubernetes"]["review"]
    assert ("ClusterRole" in of_kind) == review, "TokenReview is a right for `review = true`, and for nothing else"
    assert not {"Role", "RoleBinding"} & of_kind.keys()


def main(what, path, *more):
    with open(path, encoding="utf-8") as file:
        manifests = list(yaml.safe_load_all(file))
    if what == "sidecar":
        check_sidecar(manifests)
    else:
        with open(more[0], "rb") as file:
            check_gateway(manifests, tomllib.load(file))


main(*sys.argv[1:])
