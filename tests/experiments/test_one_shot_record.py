"""docs/one-shot.md shows the record beside it."""

import json
import re
from pathlib import Path

from lgm.experiments.one_shot_report import OneShotReport, one_shot_table
from lgm.utils.codec import decode

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_document_shows_the_table_of_the_record() -> None:
    record = decode(OneShotReport, json.loads((DOCS / "one-shot.json").read_text()))
    (shown,) = re.findall(r"```text\n(.*?)\n```", (DOCS / "one-shot.md").read_text(), re.DOTALL)
    assert shown == one_shot_table(record)
    assert len(record.each) == record.attacks
    assert record.success.value * record.attacks == sum(attack.success for attack in record.each)
    assert all((attack.after < 0.5) == attack.success for attack in record.each), "of two classes"
