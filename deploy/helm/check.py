"""Renders the charts with Helm's own engine, and tries values that must be refused: python3 check.py DIRECTORY.

DIRECTORY gets gateway.yaml, the chart sidebearer with the configuration of deploy/kubernetes/gateway, review.yaml, the same
with TokenReview, everything.yaml, where no value is as it is by default, and billing.yaml, the chart of a service that takes
the sidecar."""

import pathlib
import shutil
import sys
import tempfile

import helm_python as helm

HERE = pathlib.Path(__file__).parent
CHART = HERE / "sidebearer"
CONFIGURATION = (HERE.parent / "kubernetes/gateway/sidebearer.toml").read_text(encoding="utf-8")
VERSIONS = ("v1.29.0", "v1.37.0")


def good(**changed):
    """The values of the example, and what a case changes of them."""
    values = helm.values_from_yaml((HERE / "gateway-values.yaml").read_text(encoding="utf-8"))
    return values | {"config": CONFIGURATION} | changed


# Every value that the example leaves alone.
EVERYTHING = {
    "image": {"digest": "sha256:" + 64 * "a", "pullPolicy": "Always", "pullSecrets": ["registry"]},
    "fullnameOverride": "proxy",
    "config": "",
    "existingConfigMap": "proxy-configuration",
    "serviceAccount": {"annotations": {"example.com/role": "gateway"}},
    "autoscaling": {"enabled": False},
    "replicas": 5,
    "podDisruptionBudget": {"maxUnavailable": "20%"},
    "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}, "loadBalancerClass": "example.com/lb"},
    "networkPolicy": {"metrics": []},
    "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
    "podAnnotations": {"example.com/note": "1"},
    "podLabels": {"team": "platform"},
    "nodeSelector": {"kubernetes.io/arch": "arm64"},
    "tolerations": [{"key": "gateway", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "gateway", "operator": "Exists"}]}]}}},
    "priorityClassName": "important",
}  # fmt: skip

# What is changed, and what the message must name.
REFUSED = [
    ({"config": ""}, "the text of sidebearer.toml is required"),
    ({"existingConfigMap": "mine"}, "only one of the two"),
    ({"config": CONFIGURATION + 'client_secret = "abc"\n'}, "a secret stands in the file itself, after `client_secret ="),
    ({"config": CONFIGURATION + "  private_key='''\nabc'''\n"}, "a secret stands in the file itself, after `private_key="),
    ({"ports": [{"name": "https", "port": 9443}]}, "no address in config ends with :9443, the port of https"),
    ({"healthPort": 7099}, "no address in config ends with :7099"),
    ({"secrets": {"tls": "gateway-tls", "credentials": "c"}}, "config names a file in /run/secrets/callers"),
    ({"serviceAccount": {"token": False}}, "serviceAccount.token: config has [kubernetes]"),
    ({"config": CONFIGURATION.replace("review = false", "review = true")}, "serviceAccount.review"),
    ({"autoscaling": {"minReplicas": 13}}, "minReplicas is 13, more than maxReplicas, which is 12"),
    ({"replicaCount": 3}, "replicaCount"),
    ({"ports": []}, "ports"),
    ({"ports": [{"name": "HTTPS", "port": 8443}]}, "ports"),
    ({"ports": [{"name": "https", "port": 70000}]}, "ports"),
    ({"image": {"digest": "sha256:abc"}}, "digest"),
    ({"secrets": {"Tls": "gateway-tls"}}, "secrets"),
    ({"networkPolicy": {"clients": []}}, "clients"),
    ({"terminationGracePeriodSeconds": "60s"}, "terminationGracePeriodSeconds"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    ({"serviceMonitor": {"enabled": "yes"}}, "enabled"),
]


def manifests(chart, values, name):
    rendered = chart.render(values, name=name, namespace=name)
    return "\n---\n".join(text for path, text in rendered.items() if path.endswith(".yaml") and text.strip())


def check_refused(chart):
    for changed, expected in REFUSED:
        try:
            chart.render(good(**changed), name="gateway", namespace="gateway")
        except helm.HelmError as error:
            assert expected in str(error), f"{changed}: the message does not name {expected!r}: {error}"
        else:
            raise AssertionError(f"{list(changed)}: {expected!r} is not refused")


def check_lint(values):
    for version in VERSIONS:
        report = helm.lint(CHART, values, strict=True, kube_version=version)
        # 1 is advice, that of an icon.
        found = [message for message in report["messages"] if message["severity"] > 1]
        assert not found and not report["errors"], (version, found, report["errors"])


def billing(directory):
    """With its dependency where `helm dependency build` puts it."""
    shutil.copytree(HERE / "billing", directory / "billing")
    shutil.copytree(CHART, directory / "billing/charts/sidebearer")
    with helm.Chart.load(directory / "billing") as chart:
        return manifests(chart, {}, "billing")


def main(directory):
    with helm.Chart.load(CHART) as chart:
        assert chart.metadata["version"] == chart.metadata["appVersion"]
        check_refused(chart)
        (directory / "gateway.yaml").write_text(manifests(chart, good(), "gateway"), encoding="utf-8")
        reviewing = good(
            config=CONFIGURATION.replace("review = false", "review = true"),
            serviceAccount={"token": True, "review": True},
        )
        (directory / "review.yaml").write_text(manifests(chart, reviewing, "review"), encoding="utf-8")
        (directory / "everything.yaml").write_text(manifests(chart, good(**EVERYTHING), "every"), encoding="utf-8")
    check_lint(good())
    with tempfile.TemporaryDirectory() as temporary:
        (directory / "billing.yaml").write_text(billing(pathlib.Path(temporary)), encoding="utf-8")
    print(f"rendered by Helm {helm.helm_sdk_version()}; {len(REFUSED)} mistakes refused")


main(pathlib.Path(sys.argv[1]))
