"""The route that downloads the audit log as a CSV file.

The audit log records who did what, and when. Its cells are escaped, so that a spreadsheet program doesn't run
them as formulas.
"""

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
# A spreadsheet reads a cell that starts with one of these characters as a formula. The last four are the
# full-width forms of the first four.
_FORMULA_CHARACTERS = r"=+\-@\t\r\n＝＋－＠"
# A formula may also follow a separator inside a cell, because some programs split cells at other separators
# than the comma.
_FORMULA = re.compile(rf"""(^|[;,|\t\r\n])((?:["']|[^\S\t\r\n])*)(?=[{_FORMULA_CHARACTERS}])""")
# Excel reads a CSV file as UTF-8 only if the file starts with this mark.
_BYTE_ORDER_MARK = "\ufeff"


@audit.get("/audit.csv", include_in_schema=False)
def get_audit(
    studio: CurrentStudio,
    user: CurrentUser,
    person: str | None = None,
    action: Action | None = None,
) -> StreamingResponse:
    """Download the audit log as a CSV file. Only administrators may do this."""
    lines = csv_lines(
        COLUMN_TITLES, map(table_row, studio.audit_log.iterate(user, AuditFilter(person, action)))
    )
    headers = SAFETY_HEADERS | {
        "Content-Disposition": "attachment; filename=audit.csv",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


def escape_formulas(text: str) -> str:
    """Return `text` with an apostrophe before each part that a spreadsheet program would run as a formula."""
    return _FORMULA.sub(r"\1'\2", text)


def csv_lines(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """Yield a CSV file as lines in UTF-8: first `titles`, then `rows`.

    All cells are quoted and escaped with `escape_formulas`. The file starts with a byte order mark. A
    character that UTF-8 can't encode is replaced with "?".
    """
    yield (_BYTE_ORDER_MARK + _line(titles)).encode()
    for row in rows:
        yield _line(row).encode("utf-8", "replace")


def _line(cells: Sequence[str]) -> str:
    line = StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow(map(escape_formulas, cells))
    return line.getvalue()
