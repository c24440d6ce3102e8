"""Holds the schema and `sidebearer check` to each other for every key that there is: each one is given an empty value, values of
every other type, numbers beyond its bounds, and words that it does not know. each_key.py SIDEBEARER DIRECTORY, which has the
files that the configurations name."""

import concurrent.futures
import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema

SERVER = {"certificate_file": "server.pem", "key_file": "server.key"}
CREDENTIAL = {"issuer": "https://login.example.com", "client_id": "billing", "client_secret": {"file": "secret"}}
ASSERTION = {"issuer": "https://login.example.com", "client_id": "billing", "auth_method": "private_key_jwt"}
ASSERTION |= {"private_key": {"file": "server.key"}}
FORWARD = {"name": "app", "address": "127.0.0.1:3128", "kind": "forward"}
WITH_TLS = {"address": "127.0.0.1:7443", "upstream": "crm", "tls": SERVER}
WHOLE = {
    "listeners": [{"name": "app", "address": "127.0.0.1:7080", "upstream": "crm"}],
    "upstreams": {"crm": {"url": "https://crm.example.com", "credential": "crm"}},
    "credentials": {"crm": CREDENTIAL},
}


def changed(*path, to):
    """The whole configuration with something else at this place."""
    config = copy.deepcopy(WHOLE)
    at = config
    for step in path[:-1]:
        at = at.setdefault(step, {}) if isinstance(at, dict) else at[step]
    at[path[-1]] = to
    return config, path


BASE = "nothing"

# A good configuration for each table, and where in it the table stands. Where a choice decides which keys count, there is one
# for each choice that has keys.
BASES = {
    "": [(WHOLE, ())],
    "server": [changed("server", to={})],
    "log": [changed("log", to={})],
    "admin": [changed("admin", to={})],
    "health": [changed("health", to={"address": "127.0.0.1:7091"})],
    "listeners": [
        (WHOLE, ("listeners", 0)),
        changed("listeners", 0, to=FORWARD),
        changed("listeners", 0, to=FORWARD | {"kind": "redirected", "address": "127.0.0.1:15001"}),
    ],
    "listeners.tls": [changed("listeners", 0, "tls", to=SERVER)],
    "listeners.certificates": [
        (changed("listeners", 0, to=WITH_TLS | {"certificates": [SERVER]})[0], ("listeners", 0, "certificates", 0))
    ],
    "routes": [(changed("routes", to=[{"upstream": "crm", "path": "/x"}])[0], ("routes", 0))],
    "egress": [changed("egress", to={})],
    "egress.rules": [(changed("egress", "rules", to=[{"hosts": ["example.org"]}])[0], ("egress", "rules", 0))],
    "upstreams": [(WHOLE, ("upstreams", "crm"))],
    "upstreams.tls": [changed("upstreams", "crm", "tls", to={})],
    "credentials": [
        (WHOLE, ("credentials", "crm")),
        changed("credentials", "crm", to=ASSERTION),
        changed("credentials", "crm", to=CREDENTIAL | {"grant": "jwt-bearer", "assertion": {"file": "token"}}),
        changed("credentials", "crm", to=CREDENTIAL | {"grant": "token-exchange", "subject_token": {"file": "token"}}),
    ],
    "credentials.tls": [changed("credentials", "crm", "tls", to={})],
    "file_or_env": [(WHOLE, ("credentials", "crm", "client_secret"))],
    "callers": [changed("callers", "billing", to={"user": 1001})],
    "callers.token": [
        changed("callers", "billing", "token", to={"issuer": "https://login.example.com", "audience": "sidebearer"})
    ],
    "callers.limits": [(changed("callers", "billing", to={"user": 1001, "limits": {}})[0], ("callers", "billing", "limits"))],
    "interception": [changed("interception", to={"domains": ["example.com"]})],
    "kubernetes": [changed("kubernetes", to={})],
    "audit": [changed("audit", to={"file": "stdout"})],
    "tracing": [changed("tracing", to={"endpoint": "http://127.0.0.1:4318"})],
}


def toml(value):
    """A value as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def values(schema):
    """What to give a key that holds this."""
    word = "no such word"
    yield from ("", word, True, False, -1, 0, 3, 2.5, 9_000_000_000, [], [""], [word], [3], {}, {"no_such_key": "x"}, {"x": ""})
    for bound in ("minimum", "maximum"):
        if bound in schema:
            yield from (schema[bound] - 1, schema[bound], schema[bound] + 1)
    for known in schema.get("enum", []):
        if isinstance(known, str):
            yield from (known.upper(), known + "x", [known])
    description = schema.get("description", "")
    units = {"duration": ("ms", "s", "m", "h"), "size": ("B", "KiB", "GiB")}
    units = [unit for kind, units in units.items() if f"Type: {kind}" in description for unit in units]
    for unit in units:
        for number in ("0", "1", "60", "99999999", "1.5", "-1"):
            yield number + unit
    if "h" in units:
        yield from ("59m60s", "8759h60m", "8759h61m", "1m8761h", "0m0s", "0s1ms", "500ms500ms")


# What `check` alone refuses, and why a schema cannot know.
ALONE = {
    r"\[(listeners|routes|upstreams.*|egress\.rules)\] (upstreams?|listeners?|callers|credential|certificate_from) = .*": (
        "what has this name stands elsewhere"
    ),
    r"\[\] (credentials|upstreams|listeners) = .*": "what is named elsewhere is missing",
    r"\[.*\] (file|\w+_file) = \".*": "a schema sees no files",
    r"\[(credentials|callers)\] (private_key|key) = \".*": "what a key is does not show in how it is spelled",
    r"\[credentials\] signing_alg = \".*": "which algorithms a key is for is in its file",
    r"\[callers\] user = \".*": "the system knows its users",
    r"\[callers\.limits\] burst = .*": 'the rate may be that of [callers."*"]',
    r"\[listeners\] intercept = true": "[interception] may stand in another file",
    r"\[\] tracing = \{  \}": "variables may name the collector",
    r"\[.*\] \w+ = \"[0-9]+(h[0-9]+m|m[0-9]+s|s[0-9]+ms|ms[0-9]+ms)\"": "a pattern cannot add",
}


def main(sidebearer, directory):
    printed = subprocess.run([sidebearer, "schema"], check=True, capture_output=True, text=True)
    schema = json.loads(printed.stdout)
    validator = jsonschema.Draft202012Validator(schema)

    def resolve(part):
        if reference := part.get("$ref"):
            return resolve(schema["$defs"][reference.removeprefix("#/$defs/")])
        return part

    tables = {name: part for name, part in schema["$defs"].items() if "properties" in part} | {"": schema}

    def by_check(config):
        with tempfile.NamedTemporaryFile("w", dir=directory, suffix=".toml") as file:
            file.write("".join(f"{key} = {toml(value)}\n" for key, value in config.items()))
            file.flush()
            command = [sidebearer, "check", "--config", file.name]
            ended = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
        assert ended.returncode in (0, 2), (config, ended)
        return ended.stderr if ended.returncode else ""

    def judge(case):
        table, key, value, config = case
        by_schema = "; ".join(error.message for error in validator.iter_errors(config))
        return table, key, value, by_schema, by_check(config)

    cases = []
    for table, bases in BASES.items():
        for at, (base, path) in enumerate(bases):
            chosen = base
            for step in path:
                chosen = chosen[step]
            for key, part in tables[table]["properties"].items():
                belongs = re.search(r"Only with `(\w+)` ", part["description"])
                # Other keys count with every choice: once is enough.
                if at > 0 and not (belongs and belongs[1] in chosen):
                    continue
                for value in values(part | resolve(part)):
                    config = copy.deepcopy(base)
                    inner = config
                    for step in path:
                        inner = inner[step]
                    inner[key] = value
                    cases.append((table, key, value, config))
            cases.append((table, BASE, "", base))
    missing = set(tables) - set(BASES)
    assert not missing, f"tables without a base: {missing}"

    failures, refused, alone = [], 0, set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for table, key, value, by_schema, checked in pool.map(judge, cases):
            refused += bool(by_schema)
            what = f"[{table}] {key} = {toml(value)}"
            if key == BASE and (by_schema or checked):
                failures.append(f"{what} is refused: {by_schema} {checked}")
            elif by_schema and not checked:
                failures.append(f"{what}: the schema alone refuses it: {by_schema}")
            elif checked and not by_schema:
                reasons = {pattern for pattern in ALONE if re.fullmatch(pattern, what)}
                alone |= reasons
                if not reasons:
                    failures.append(f"{what}: check alone refuses it: {checked}")
    failures += [f"nothing needs the exception {pattern}" for pattern in set(ALONE) - alone]
    assert not failures, "\n".join(failures)
    assert len(cases) > 4000, len(cases)
    print(f"of {len(cases)} configurations, each with another value of one key, both refuse {refused}")


main(sys.argv[1], pathlib.Path(sys.argv[2]))
