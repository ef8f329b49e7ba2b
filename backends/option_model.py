"""Declarations of a backend's options, and of those that an untrusted file may set.

Every field of a model is an option. One that is not declared ``harmless`` may name code or a path, and is taken only
from this machine's own devices or from a file that the user names; so a new option is refused until it is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from mosaic_onnx.core.devices import OptionValue

Check = Callable[[OptionValue], str | None]
"""Returns why a value of a harmless option is refused; None where it is not."""
_HARMLESS, _CHECK = "mosaic_onnx.harmless", "mosaic_onnx.check"
_CODE_OR_PATH = ("/", "\\", "~", "package:")


@dataclass(frozen=True)
class OptionRule:
    """The rule of one option.

    Attributes:
        key: its name; ``TABLE.*`` stands for every key of a table that has no rule of its own.
        harmless: an untrusted file may set it.
        check: refuses some of its values, even if it is harmless.
        default: its default value, which is always allowed.
    """

    key: str
    harmless: bool = False
    check: Check | None = None
    default: object = None


def harmless(default: Any = MISSING, *, default_factory: Any = MISSING, check: Check | None = None) -> Any:
    """Declare a field of an option model that an untrusted file may set: it names neither code nor a path."""
    metadata = {_HARMLESS: True, _CHECK: check}
    if default_factory is not MISSING:
        return field(default_factory=default_factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def rules_of(
    model: Any,
    tables: Mapping[str, Collection[str]] | None = None,
    leave_out: Collection[str] = (),
) -> tuple[OptionRule, ...]:
    """Return the rules that an option model (a dataclass) declares.

    Args:
        model: the dataclass.
        tables: its fields that are tables, each with the keys that are always harmless.
        leave_out: fields that are not options.
    """
    rules: list[OptionRule] = []
    for each in fields(model):
        is_harmless = bool(each.metadata.get(_HARMLESS))
        if tables is not None and each.name in tables:
            rules += [OptionRule(f"{each.name}.{key}", harmless=True) for key in tables[each.name]]
            rules.append(OptionRule(f"{each.name}.*", is_harmless))
        elif each.name not in leave_out:
            rules.append(OptionRule(each.name, is_harmless, each.metadata.get(_CHECK), each.default))
    return tuple(rules)


def why_refused(key: str, value: OptionValue, rules: Collection[OptionRule]) -> str | None:
    """Return why an untrusted file may not set an option to a value; None where it may."""
    by_key = {rule.key: rule for rule in rules}
    rule = by_key.get(key) or by_key.get(f"{key.partition('.')[0]}.*")
    if rule is not None and type(rule.default) is type(value) and rule.default == value:
        return None
    if rule is None or not rule.harmless:
        return "it is not among the options known to name neither code nor a path"
    if isinstance(value, str) and (mark := next((each for each in _CODE_OR_PATH if each in value), None)) is not None:
        return f"its value holds {mark!r}, as names of code and paths do"
    return rule.check(value) if rule.check else None
