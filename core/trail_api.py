"""The audit trail as a file."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from core.accounts import SignedIn
from core.audit import TITLES, Action, TrailFilter, cells
from core.entry import CurrentStudio, user_of
from core.pictures import SAFE
from core.sheet import sheet

trail = APIRouter()


@trail.get("/audit.csv", include_in_schema=False)
def get_audit(
    studio: CurrentStudio,
    user: Annotated[SignedIn, Depends(user_of)],
    person: str | None = None,
    action: Action | None = None,
) -> StreamingResponse:
    """The audit trail as a file, for an administrator's browser."""
    lines = sheet(TITLES, map(cells, studio.audit.all(user, TrailFilter(person, action))))
    headers = SAFE | {"Content-Disposition": "attachment; filename=audit.csv", "Cache-Control": "no-store"}
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)
