"""The audit log as a CSV file, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from core.accounts.audit_log import COLUMN_TITLES, Action, AuditFilter, table_row
from core.accounts.identity import SignedIn
from core.api.dependencies import CurrentStudio, user_of
from core.api.image_responses import SAFE

audit = APIRouter()
# A cell that begins with one of these is read as a formula, or as one after it; in full width, too.
_SIGNS = r"=+\-@\t\r\n＝＋－＠"
# A reader to whom another sign ends a cell finds a beginning there as well.
_FORMULA = re.compile(rf"""(^|[;,|\t\r\n])((?:["']|[^\S\t\r\n])*)(?=[{_SIGNS}])""")
# Without it Excel takes UTF-8 for something else.
_MARK = "\ufeff"


@audit.get("/audit.csv", include_in_schema=False)
def get_audit(
    studio: CurrentStudio,
    user: Annotated[SignedIn, Depends(user_of)],
    person: str | None = None,
    action: Action | None = None,
) -> StreamingResponse:
    """The audit trail as a file, for an administrator's browser."""
    lines = sheet(COLUMN_TITLES, map(table_row, studio.audit_log.iterate(user, AuditFilter(person, action))))
    headers = SAFE | {"Content-Disposition": "attachment; filename=audit.csv", "Cache-Control": "no-store"}
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


def harmless(text: str) -> str:
    """`text` for one cell, with an apostrophe before whatever a spreadsheet would take for a formula."""
    return _FORMULA.sub(r"\1'\2", text)


def sheet(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """A CSV file, line by line, each cell of it quoted."""
    yield (_MARK + _line(titles)).encode()
    for row in rows:
        yield _line(row).encode("utf-8", "replace")


def _line(cells: Sequence[str]) -> str:
    line = StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow(map(harmless, cells))
    return line.getvalue()
