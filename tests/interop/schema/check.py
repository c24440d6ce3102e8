"""Holds the schema and `sidebearer check` to each other: check.py SIDEBEARER DIRECTORY, which has the files that the
cases name. An independent validator judges by the schema that the binary prints."""

import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import jsonschema

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
BASE = {
    "listeners": '[[listeners]]\nname = "app"\naddress = "127.0.0.1:7080"\nupstream = "crm"\n',
    "upstreams.crm": '[upstreams.crm]\nurl = "https://crm.example.com"\ncredential = "crm"\n',
    "credentials.crm": '[credentials.crm]\ntoken_endpoint = "https://login.example.com/token"\n'
    'client_id = "billing"\nclient_secret = { file = "secret" }\n',
}


def cases(name):
    """Each case of a file, its claim and its text."""
    for part in (HERE / name).read_text().split("\n## ")[1:]:
        claim, text = part.split("\n", 1)
        yield claim, text


def whole(text):
    """With those tables of the base that the case does not have itself."""
    names = set(re.findall(r"^(\w+) =", text, re.M)) if not text.startswith("[") else set()
    missing = [
        table
        for name, table in BASE.items()
        if f"[{name}]" not in text and name.split(".")[0] not in names
    ]
    return "\n".join([text, *missing])


def removals(schema):
    """Where the schema says what keys have to do with each other: the places of each such rule."""
    for name, definition in schema["$defs"].items():
        for at, _ in enumerate(definition.get("allOf", [])):
            yield f"{name}, rule {at}", lambda copy, name=name, at=at: copy["$defs"][name]["allOf"].pop(at)


def main(sidebearer, directory):
    printed = subprocess.run([sidebearer, "schema"], check=True, capture_output=True, text=True)
    schema = json.loads(printed.stdout)
    (directory / "config.schema.json").write_text(printed.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    print("the schema is valid by its metaschema")

    def by_schema(text):
        return [error.message for error in validator.iter_errors(tomllib.loads(text))]

    def by_check(text):
        path = directory / "sidebearer.toml"
        path.write_text(text)
        environment = {**os.environ, "CRM_SECRET": "s3cret"}
        command = [sidebearer, "check", "--config", path]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert ended.returncode in (0, 2), ended
        return ended.stderr if ended.returncode else ""

    failures, broken = [], []

    def expect(what, refused, good):
        if bool(refused) == good:
            failures.append(f"{what}: " + (f"refused: {refused}" if good else "taken"))

    for claim, text in cases("cases"):
        bad, mended = (whole(part) for part in text.split("---\n"))
        expect(f"check, {claim}", by_check(bad), False)
        expect(f"check, {claim}, mended", by_check(mended), True)
        expect(f"schema, {claim}", by_schema(bad), False)
        expect(f"schema, {claim}, mended", by_schema(mended), True)
        broken.append(tomllib.loads(bad))
    alone = list(cases("check_alone"))
    for claim, text in alone:
        assert ": " in claim, claim
        expect(f"check, {claim}", by_check(whole(text)), False)
        expect(f"schema, {claim}", by_schema(whole(text)), True)
    assert not failures, "\n".join(failures)
    assert len(broken) >= 50, len(broken)
    print(f"{len(broken)} broken configurations are refused by both, and their mended forms taken by both")
    print(f"{len(alone)} more are refused by check alone, each for a reason")

    # A rule that no case breaks may be one that the reader does not have.
    rules = list(removals(schema))
    for name, remove in rules:
        weaker = copy.deepcopy(schema)
        remove(weaker)
        weaker = jsonschema.Draft202012Validator(weaker)
        if not any(weaker.is_valid(one) for one in broken):
            failures.append(f"no case needs {name}")
    assert not failures, "\n".join(failures)
    print(f"each of {len(rules)} rules of the schema is needed to refuse one of them")

    files = [*ROOT.glob("config/*.toml"), *ROOT.glob("deploy/**/sidebearer.toml")]
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob("config/*.md")]
    examples = [(str(file.relative_to(ROOT)), file.read_text()) for file in files]
    for document in documents:
        for block in re.findall(r"^( *)```toml\n(.*?)^ *```", document.read_text(), re.M | re.S):
            text = re.sub(f"^{block[0]}", "", block[1], flags=re.M)
            examples.append((str(document.relative_to(ROOT)), text))
    for name, text in examples:
        expect(f"{name}\n{text}", by_schema(text), True)
    assert not failures, "\n".join(failures)
    assert len(files) >= 7 and len(examples) >= 30, (len(files), len(examples))
    print(f"{len(examples)} examples of files and documents are valid")


main(sys.argv[1], pathlib.Path(sys.argv[2]))
