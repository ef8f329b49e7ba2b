"""Write ``golden.json`` anew: the verdict of every node test, found in one process after another."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter

import pytest

from tests.in_process import check_in_process
from tests.node_suite.cases import all_cases
from tests.node_suite.test_node_suite import GOLDEN
from tests.node_suite.verdicts import verdict


def main() -> int:
    found: dict[str, str] = {}
    started_s = time.monotonic()
    with pytest.MonkeyPatch.context() as monkeypatch:
        check_in_process(monkeypatch)
        for case in all_cases():
            try:
                found[case.name] = verdict(case)
            except Exception as error:  # a bug of ours: named, and never golden
                found[case.name] = "crashed"
                print(f"{case.name}: {error!r}", flush=True)
            if found[case.name] not in ("right", "not loaded"):
                print(f"{case.name}: {found[case.name]}", flush=True)
    counts = Counter(found.values())
    cases = {each: sorted(name for name, one in found.items() if one == each) for each in counts if each != "right"}
    GOLDEN.write_text(
        json.dumps({"counts": dict(sorted(counts.items())), "cases": dict(sorted(cases.items()))}, indent=1) + "\n"
    )
    print(f"{dict(counts)} in {time.monotonic() - started_s:.0f} s")
    return int("crashed" in counts)


if __name__ == "__main__":
    sys.exit(main())
