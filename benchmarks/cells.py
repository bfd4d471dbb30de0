# SPDX-License-Identifier: GPL-2.0-only
"""What each cell of a run came to, in few numbers.  Judges nothing.

python benchmarks/cells.py RUN >results/run-6.1.json

`compared` are the values of class tables and mm_stat that were compared with the model's at all
checkpoints, `exact` those of them that left the model no choice; `moved` are zspages' pages that migrated.
"""

from __future__ import annotations

import argparse
import json
import re

from toolkit.archive import Archive
from toolkit.record import Record
from toolkit.workload import catalogue

_VALUES = re.compile(r"(?P<compared>\d+) values, (?P<exact>\d+) of them exact")


def cell(record: Record) -> dict[str, object]:
    """One cell's numbers."""
    told = (_VALUES.match(check.summary) for check in record.verdict.checks)
    values = [(int(found["compared"]), int(found["exact"])) for found in told if found]
    return {
        "workload": record.cell.workload,
        "title": catalogue.load(record.cell.workload).title,
        "series": record.cell.series,
        "arch": record.cell.arch,
        "status": record.status.value,
        "compared": sum(compared for compared, _ in values),
        "exact": sum(exact for _, exact in values),
        "moved": record.counters.get("zs_page_migrate_success", 0),
        "checks": len(record.verdict.checks),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What each cell of a run came to.")
    parser.add_argument("run", metavar="RUN")
    kept = Archive.default().find(parser.parse_args().run)
    print(json.dumps([cell(record) for record in kept.records()], indent=1))


if __name__ == "__main__":
    main()
