"""Contracts for other languages: the AsyncAPI document, TypeScript types, and messages with verdicts."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stream_coupons.agents.users import Users
from stream_coupons.contracts import clients
from stream_coupons.core.errors import BadMessage
from stream_coupons.kafka.records import Record
from tests.agents.test_keyed import known

FOLDER = Path(__file__).parents[2] / "schemas"
VERDICTS: list[dict[str, Any]] = json.loads((FOLDER / "examples" / "verdicts.json").read_text(encoding="utf-8"))
APPENDED_MS = 1_767_348_000_000
AJV = """
const fs = require("fs"), Ajv = require("ajv/dist/2020").default, folder = process.argv[1];
const validators = {};
for (const file of fs.readdirSync(folder).filter(name => name.endsWith(".schema.json")))
  validators[file] = new Ajv({logger: false}).compile(JSON.parse(fs.readFileSync(`${folder}/${file}`)));
for (const each of JSON.parse(fs.readFileSync(`${folder}/examples/verdicts.json`)).filter(each => "message" in each)) {
  const isValid = validators[`${each.topic}.v1.schema.json`](each.message);
  const outside = ["wrong_key", "from_the_future"].includes(each.verdict);
  if (isValid !== (each.verdict === "accepted" || outside)) throw new Error(JSON.stringify(each));
}
"""
PARSE = """
const fs = require("fs"), {Parser} = require("@asyncapi/parser");
new Parser().parse(fs.readFileSync(`${process.argv[1]}/asyncapi.json`, "utf8")).then(({document, diagnostics}) => {
  const errors = diagnostics.filter(found => found.severity === 0);
  if (errors.length || !document) { console.error(errors); process.exit(1); }
});
"""


def text_of(case: dict[str, Any]) -> str:
    return str(case["text"]) if "text" in case else json.dumps(case["message"])


@pytest.mark.parametrize("case", VERDICTS, ids=lambda case: f"{case['topic']}: {text_of(case)[:60]}")
def test_the_decoder_gives_the_verdict_of_an_example(case: dict[str, Any]) -> None:
    record = Record(case["topic"], 0, 0, APPENDED_MS, case["key"].encode(), text_of(case).encode())
    try:
        Users(known, 1).parse(record)
        verdict = "accepted"
    except BadMessage as bad:
        verdict = str(bad.reason)
    assert verdict == case["verdict"]


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = json.loads((FOLDER / "asyncapi.json").read_text(encoding="utf-8"))

    def resolve(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(reference := node.get("$ref"), str):
                found = document
                for step in reference.removeprefix("#/").split("/"):
                    found = found[step]
            for inner in node.values():
                resolve(inner)
        elif isinstance(node, list):
            for inner in node:
                resolve(inner)

    resolve(document)
    assert document["asyncapi"] == "3.0.0"
    assert set(document["channels"]) == {topic.name for topic in (*clients.WRITTEN, *clients.READ)}
    assert {one["action"] for one in document["operations"].values()} == {"receive", "send"}
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_a_tuple_an_optional_field_and_a_map_have_their_types() -> None:
    text = (FOLDER / "types.ts").read_text(encoding="utf-8")
    assert "export type Reason = [string, number, number" in text
    assert '  "item"?: Item | null;' in text
    assert '  "context"?: { [name: string]: string | number | boolean | null };' in text
    assert '  "browse-events": BrowseEvent;' in text


def node(package: str, *command: str) -> None:
    """Run a program that needs a package of npm, or skip; NODE_PATH names the folder of packages."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if subprocess.run(["node", "-p", f"require.resolve({package!r})"], capture_output=True, check=False).returncode:
        pytest.skip(f"the package {package} is not in NODE_PATH")
    done = subprocess.run(["node", *command], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.process
def test_ajv_compiles_the_schemas_in_strict_mode_and_gives_the_verdicts() -> None:
    node("ajv/dist/2020", "-e", AJV, str(FOLDER))


@pytest.mark.process
def test_the_parser_of_asyncapi_accepts_the_document() -> None:
    node("@asyncapi/parser", "-e", PARSE, str(FOLDER))


@pytest.mark.process
def test_the_types_compile() -> None:
    run = "const p = require.resolve('typescript/package.json').replace(/package.json$/, 'bin/tsc');"
    run += "require('child_process').execFileSync(process.execPath, [p, '--noEmit', '--strict', process.argv[1]])"
    node("typescript/package.json", "-e", run, str(FOLDER / "types.ts"))
