"""Evaluates the policies of this directory for sample pods: python3 check.py POLICIES INJECTED.

POLICIES is what kustomize makes of the directory; INJECTED gets the pods as they are with their sidecar. CEL is evaluated by
celpy, which is not the API server's: it knows no types, so that what the API server adds is done here: `Object` and
`JSONPatch`, the rule that the name of an Object's type is its path, and the selector."""

import copy
import re
import sys

import celpy
import celpy.celtypes
import jsonpatch
import yaml


def pod(labels=None, **spec):
    containers = [{"name": "billing", "image": "billing:1.0.0"}]
    metadata = {"name": f"pod-{len(spec)}", "labels": labels if labels is not None else {"sidebearer/inject": "sidebearer"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


OWN = {"name": "sidebearer", "image": "other:1.0.0"}
BARE = pod()
FULL = pod(
    initContainers=[{"name": "migrate", "image": "migrate:1.0.0"}],
    volumes=[{"name": "scratch", "emptyDir": {}}],
)
ITS_OWN = pod(initContainers=[OWN | {"restartPolicy": "Always"}])
IMPOSTOR = pod(initContainers=[OWN])
NAMELESS = pod(labels={"sidebearer/inject": ""}, initContainers=[OWN | {"restartPolicy": "Always"}])
NOT_LABELLED = pod(labels={})


def typed(name):
    """The constructor of a type: a map that remembers its name."""

    def construct(fields):
        value = celpy.celtypes.MapType(fields or {})
        value.type_name = name
        return value

    return construct


def check_names(value, path):
    """An Object in the field f of an Object p has the type p.f, as the API server demands."""
    name = getattr(value, "type_name", None)
    if name is not None:
        path = path or name
        assert name == path, f"{name} stands where {path} is expected"
        for key, inner in value.items():
            check_names(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            check_names(inner, path)


class Policy:
    def __init__(self, manifest, parameters):
        self.spec = manifest["spec"]
        self.parameters = parameters

    def evaluate(self, expression, known):
        types = {}

        def constructor(name):
            # celpy takes no dots in the name of a type that other types are below.
            identifier = name[0].replace(".", "_")
            types[identifier] = typed(name[0])
            return identifier

        expression = re.sub(r"\b(?:Object(?:\.\w+)*|JSONPatch)(?=\{)", constructor, expression)
        environment = celpy.Environment(annotations=types)
        return environment.program(environment.compile(expression)).evaluate(known)

    def known(self, pod):
        known = {"object": celpy.json_to_cel(pod), "params": celpy.json_to_cel(self.parameters)}
        variables = celpy.celtypes.MapType()
        for variable in self.spec.get("variables", []):
            variables[celpy.celtypes.StringType(variable["name"])] = self.evaluate(
                variable["expression"], known | {"variables": variables}
            )
        return known | {"variables": variables}

    def matches(self, pod):
        (selected,) = self.spec["matchConstraints"]["objectSelector"]["matchExpressions"]
        assert selected["operator"] == "Exists"
        if selected["key"] not in pod["metadata"]["labels"]:
            return False
        conditions = self.spec.get("matchConditions", [])
        return all(self.evaluate(each["expression"], {"object": celpy.json_to_cel(pod)}) for each in conditions)

    def mutated(self, pod):
        """The pod as the policy makes it."""
        pod = copy.deepcopy(pod)
        if self.matches(pod):
            for mutation in self.spec["mutations"]:
                operations = self.evaluate(mutation["jsonPatch"]["expression"], self.known(pod))
                for operation in operations:
                    assert operation.type_name == "JSONPatch"
                    check_names(operation.get("value"), None)
                pod = jsonpatch.JsonPatch(plain(operations)).apply(pod)
        return pod

    def refusals(self, pod):
        if not self.matches(pod):
            return []
        validations = self.spec["validations"]
        return [each["message"] for each in validations if not self.evaluate(each["expression"], self.known(pod))]


def plain(value):
    """What JSON can say."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, celpy.celtypes.BoolType):
        return bool(value)
    return int(value) if isinstance(value, int) else str(value)


def main(policies, injected):
    with open(policies, encoding="utf-8") as file:
        manifests = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(file)}
    settings = manifests["ConfigMap", "sidebearer-injection"]
    parameter = manifests["MutatingAdmissionPolicyBinding", "sidebearer-injection"]["spec"]["paramRef"]
    assert (parameter["name"], parameter["namespace"]) == (settings["metadata"]["name"], settings["metadata"]["namespace"])
    assert parameter["parameterNotFoundAction"] == "Deny"
    for (kind, name), manifest in manifests.items():
        if kind.endswith("PolicyBinding"):
            assert (kind.removesuffix("Binding"), manifest["spec"]["policyName"]) in manifests, f"{name} binds nothing"
        elif kind.endswith("Policy"):
            assert manifest["spec"]["failurePolicy"] == "Fail", f"{name} fails open"
    injection = Policy(manifests["MutatingAdmissionPolicy", "sidebearer-injection"], settings)
    required = Policy(manifests["ValidatingAdmissionPolicy", "sidebearer-required"], None)

    pods = [injection.mutated(BARE), injection.mutated(FULL)]
    for before, after in zip([BARE, FULL], pods, strict=True):
        first, *others = after["spec"]["initContainers"]
        assert first["name"] == "sidebearer" and others == before["spec"].get("initContainers", [])
        assert after["spec"]["containers"] == before["spec"]["containers"]
        kept = len(before["spec"].get("volumes", []))
        assert after["spec"]["volumes"][:kept] == before["spec"].get("volumes", [])
        after["spec"]["volumes"] = after["spec"]["volumes"][kept:]
        assert not required.refusals(after), after
        assert injection.mutated(after) == after, "a second time changes it again"
    for untouched in (ITS_OWN, IMPOSTOR, NOT_LABELLED):
        assert injection.mutated(untouched) == untouched
    for allowed in (ITS_OWN, NOT_LABELLED):
        assert not required.refusals(allowed), allowed
    for refused, why in ((BARE, "has no native sidecar"), (IMPOSTOR, "has no native sidecar"), (NAMELESS, "is empty")):
        (message,) = required.refusals(refused)
        assert why in message, message
    with open(injected, "w", encoding="utf-8") as file:
        yaml.safe_dump_all(pods, file)


main(*sys.argv[1:])
