"""The audit log as a CSV file that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from core.accounts.audit_log import COLUMN_TITLES, Action, AuditFilter, table_row
from core.api.dependencies import CurrentStudio, CurrentUser
from core.api.image_responses import SAFETY_HEADERS

audit = APIRouter()
# A spreadsheet takes a cell that starts with one of these characters for a formula, even in full width.
_FORMULA_CHARACTERS = r"=+\-@\t\r\n＝＋－＠"
# A formula may also follow a separator, because some programs end a cell at another separator than a comma.
_FORMULA = re.compile(rf"""(^|[;,|\t\r\n])((?:["']|[^\S\t\r\n])*)(?=[{_FORMULA_CHARACTERS}])""")
# Excel reads a CSV file as UTF-8 only with this mark.
_BYTE_ORDER_MARK = "\ufeff"


@audit.get("/audit.csv", include_in_schema=False)
def get_audit(
    studio: CurrentStudio,
    user: CurrentUser,
    person: str | None = None,
    action: Action | None = None,
) -> StreamingResponse:
    """Download the audit log; for administrators."""
    lines = csv_lines(
        COLUMN_TITLES, map(table_row, studio.audit_log.iterate(user, AuditFilter(person, action)))
    )
    headers = SAFETY_HEADERS | {
        "Content-Disposition": "attachment; filename=audit.csv",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


def escape_formulas(text: str) -> str:
    """Put an apostrophe before everything in a cell that a spreadsheet would take for a formula."""
    return _FORMULA.sub(r"\1'\2", text)


def csv_lines(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """The lines of a CSV file, with every cell quoted."""
    yield (_BYTE_ORDER_MARK + _line(titles)).encode()
    for row in rows:
        yield _line(row).encode("utf-8", "replace")


def _line(cells: Sequence[str]) -> str:
    line = StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow(map(escape_formulas, cells))
    return line.getvalue()
