"""Whether what is deployed can do its work and no more: python3 check.py sidecar MANIFESTS..., or python3 check.py gateway
MANIFESTS, or python3 check.py redirected MANIFESTS, or python3 check.py configuration MANIFESTS, which prints the
sidebearer.toml in them.

The sidecar can be lifted into any pod: all that its container needs stands on itself, and is the same everywhere. The parts
of the gateway belong together, and it has no right that it does not use. Both fit the pod security level "restricted", and
no secret stands in a ConfigMap. Where connections are redirected, one init container may do that, and everything else still
fits the level."""

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


# Keys of sidebearer.toml whose values are secrets: never text, always where the secret is read from.
SECRETS = {
    "client_secret",
    "private_key",
    "client_assertion",
    "assertion",
    "subject_token",
    "actor_token",
    "dpop_key",
    "proxy_authorization",
    "key",
}


def pods(manifests):
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield f"Pod {manifest['metadata']['name']}", manifest["spec"]
        template = manifest.get("spec", {}).get("template")
        if template:
            yield f"{manifest['kind']} {manifest['metadata']['name']}", template["spec"]


def secrets_in(value, path=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in SECRETS and isinstance(inner, str):
                yield f"{path}{key}"
            yield from secrets_in(inner, f"{path}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from secrets_in(inner, path)


def configurations(manifests):
    """The text of each sidebearer.toml, which has no secret in it."""
    for manifest in manifests:
        if manifest["kind"] != "ConfigMap" or "sidebearer.toml" not in manifest["data"]:
            continue
        text = manifest["data"]["sidebearer.toml"]
        found = list(secrets_in(tomllib.loads(text)))
        assert not found, f"ConfigMap {manifest['metadata']['name']}: {found} is written in the file itself"
        yield text


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


def check_redirected(manifests):
    (text,) = configurations(manifests)
    (listener,) = [it for it in tomllib.loads(text)["listeners"] if it["kind"] == "redirected"]
    ((name, pod),) = pods(manifests)
    # Directly before the sidecar: what comes earlier is not redirected, what comes later is served.
    redirect, sidecar = pod["initContainers"][-2:]
    assert sidecar["name"] == "sidebearer" and sidecar["restartPolicy"] == "Always", f"{name}: no native sidecar"
    assert "restartPolicy" not in redirect, f"{name}: {redirect['name']} stays"
    for container in [sidecar, *pod["containers"]]:
        check_pod(name, pod, container)
    context = redirect["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}, f"{name}: {context['capabilities']}"
    for key in ("allowPrivilegeEscalation", "seccompProfile"):
        assert context[key] == RESTRICTED[key], f"{name}: {key} is {context[key]}"
    assert context["readOnlyRootFilesystem"] and "privileged" not in context, f"{name}: {context}"

    user = sidecar["securityContext"]["runAsUser"]
    users = [container["securityContext"]["runAsUser"] for container in pod["containers"]]
    assert user not in users, f"{name}: connections of the app are not redirected, it is user {user} too"
    (table,) = [it["data"]["redirect.nft"] for it in manifests if "redirect.nft" in it.get("data", {})]
    port = listener["address"].rsplit(":", 1)[1]
    assert table.count(f"meta skuid {user} accept") == 2, f"{name}: the table is for another user than {user}"
    assert f"redirect to :{port}\n" in table, f"{name}: the table leads to another port than {port}"
    (namespace,) = [it for it in manifests if it["kind"] == "Namespace"]
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged", "NET_ADMIN is allowed nowhere else"


def seconds(duration):
    units = {"s": 1, "m": 60, "h": 3600}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smh])", duration))


def check_gateway(manifests):
    of_kind = {}
    for manifest in manifests:
        of_kind.setdefault(manifest["kind"], []).append(manifest)

    def one(kind):
        (manifest,) = of_kind[kind]
        return manifest

    (text,) = configurations(manifests)
    configuration = tomllib.loads(text)
    deployment = one("Deployment")["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    check_pod("gateway", pod, container)

    labels = deployment["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    selectors = {
        "Deployment": deployment["selector"]["matchLabels"],
        "PodDisruptionBudget": one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    }
    for service in of_kind["Service"]:
        spec = service["spec"]
        selectors[f"Service {service['metadata']['name']}"] = spec["selector"]
        targets = {port["targetPort"] for port in spec["ports"]}
        assert targets <= set(ports), f"{targets} are not all ports of the pod"
        # Metrics have a Service of their own, which has no address that clients could use.
        assert "health" not in targets or (targets == {"health"} and spec["clusterIP"] == "None"), targets
    for kind, selector in selectors.items():
        assert selector.items() <= labels.items(), f"{kind} is for other pods"
    for monitor in of_kind.get("ServiceMonitor", []):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [found for found in of_kind["Service"] if wanted.items() <= found["metadata"]["labels"].items()]
        names = {port["name"] for port in service["spec"]["ports"]}
        assert {(end["port"], end["path"]) for end in monitor["spec"]["endpoints"]} == {("health", "/metrics")}
        assert "health" in names, f"{service['metadata']['name']} leads to no metrics"
    target = one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", one("Deployment")["metadata"]["name"])
    assert "replicas" not in deployment, "the autoscaler says how many"

    addresses = [listener["address"] for listener in configuration["listeners"]] + [configuration["health"]["address"]]
    listened = {int(address.rsplit(":", 1)[1]) for address in addresses}
    assert set(ports.values()) == listened, f"ports {ports}, listened on {listened}"
    let_in = {port["port"] for rule in one("NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]}
    assert let_in == set(ports), f"let in is {let_in}"

    server = configuration["server"]
    ending = seconds(server["shutdown_delay"]) + seconds(server["drain_timeout"])
    assert pod["terminationGracePeriodSeconds"] > ending, f"it is killed before its {ending} s are over"
    mounts = [mount["mountPath"] + "/" for mount in container["volumeMounts"]]
    for path in re.findall(r"'(/run/secrets/[^']*)'", str(configuration)):
        assert any(path.startswith(mount) for mount in mounts), f"{path} is mounted nowhere"

    account = one("ServiceAccount")["metadata"]["name"]
    assert pod["serviceAccountName"] == account
    review = configuration["kubernetes"]["review"]
    assert ("ClusterRole" in of_kind) == review, "TokenReview is a right for `review = true`, and for nothing else"
    assert not {"Role", "RoleBinding"} & of_kind.keys()


def main(what, *paths):
    manifests = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            manifests += [manifest for manifest in yaml.safe_load_all(file) if manifest]
    if what == "sidecar":
        list(configurations(manifests))
        check_sidecar(manifests)
    elif what == "gateway":
        check_gateway(manifests)
    elif what == "redirected":
        check_redirected(manifests)
    else:
        (text,) = configurations(manifests)
        print(text, end="")


main(*sys.argv[1:])
