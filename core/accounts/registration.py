"""Invitations, as the administrator sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

INVITE_LIFE = timedelta(days=7)
# So many digits of an invitation's hash name it in the audit trail.
INVITE_NAME = 8


@dataclass(frozen=True, slots=True)
class OpenInvite:
    """An invitation that nobody has used yet. `id` can't be used as one."""

    id: str
    created_at: datetime
    expires_at: datetime
