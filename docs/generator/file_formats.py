"""The reference of files, from the models that read them."""

from __future__ import annotations

from typing import Any

from mosaic_onnx.cli.schemas import KINDS, schema_of

WHAT = {
    "profile": "`profile.json`: what every layer costs on every device; all that planning needs.",
    "plan": "`plan.json`: slices, their states, transfers, what is predicted, and the bound.",
    "devices": "`devices.toml`: devices with their options.",
    "manifest": "`manifest.json` of a bundle: the keys that reading relies on; further keys are facts for people.",
    "scenario": "A scenario: models with periods and deadlines that share the devices.",
    "npu": "The hardware of an emulated NPU.",
    "decoder": "The shape of a decoder whose costs are modelled (`import --from decoder`).",
    "machine": "Published figures of the devices that such a decoder is planned for.",
}


def files_page() -> str:
    """Return the page in Markdown: the keys of every file, with their types and limits."""
    parts = [
        "# Files\n",
        "Made from the models that read the files; `mosaic-onnx schema KIND` prints the JSON Schema. Unknown keys, NaN "
        "and negative amounts are refused with the path of the key.\n",
    ]
    return "\n".join(parts + [_section(kind) for kind in KINDS])


def _section(kind: str) -> str:
    schema = schema_of(kind)
    lines = [f"## {kind}\n", f"{WHAT[kind]}\n", *_table(schema)]
    for name, one in schema.get("$defs", {}).items():
        if "properties" in one:
            lines += [f"### {kind}: {name.strip('_')}\n", *_table(one)]
    return "\n".join(lines)


def _table(model: dict[str, Any]) -> list[str]:
    needed = set(model.get("required", ()))
    rows = ["| key | value | default |", "| --- | --- | --- |"]
    for key, value in model.get("properties", {}).items():
        default = "needed" if key in needed else f"`{value.get('default', 'none')}`"
        rows.append(f"| `{key}` | {_type(value)} | {default} |")
    return [*rows, ""]


def _type(value: dict[str, Any]) -> str:
    """Return a value's type and limits in words."""
    if "$ref" in value:
        return f"a {value['$ref'].rsplit('/', 1)[-1].strip('_')}"
    if "anyOf" in value:
        return " or ".join(_type(one) for one in value["anyOf"])
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    kind = value.get("type", "anything")
    if kind == "array":
        return f"list of {_type(value.get('items', {}))}"
    if kind == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"table of {_type(value['additionalProperties'])}"
    limits = [f"{word} {value[key]}" for key, word in _LIMITS.items() if key in value]
    return " ".join([str(kind), *([f"({', '.join(limits)})"] if limits else [])])


_LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "minLength": "letters at least"}
