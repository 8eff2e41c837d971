"""Links that show one picture to whoever has them: its bytes and thumbnail, and nothing else of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, exists
from sqlmodel import Session, col, select

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import SignedIn, check_standing
from core.common.clock import utc_now
from core.common.ids import sha256_hex
from core.common.text import storable_text
from core.database.database import Database
from core.database.models import Image, ShareLink, User

# How long a link may last, the usual one first.
LIVES = (timedelta(days=7), timedelta(days=1), timedelta(days=30))
# The part of an image's address in which a link's token is handed on.
SHARE_PARAM = "share"
# The audit log names a link by this many characters of its id.
SHARE_NAME = 8


@dataclass(frozen=True, slots=True)
class ActiveShareLink:
    """A link that still shows its picture. `id` can't be used as one."""

    id: str
    image_id: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SharedImage:
    """All that a link's holder may know of an image; with `owner_id` the gallery gives its bytes.

    It has no prompt, name or price, so that none can be shown by a slip.
    """

    id: str
    owner_id: str
    mime: str
    sha256: str


class ShareLinks:
    """Tokens leave as text, once, and are stored as SHA-256 only.

    A link is looked up at every use: it shows nothing from the moment that its owner stops sharing, puts the
    image into the trash or loses their access. What isn't one's own is ImageNotFound, as if it never was.
    """

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._clock = clock
        self._audit_log = audit_log

    def create(self, user: SignedIn, image_id: str, life: timedelta) -> str:
        """The token of a new link to an image of this user's.

        Raises ImageNotFound, InvalidParameter, or SessionEnded where the session has ended in this moment.
        """
        if life not in LIVES:
            *days, most = (str(life.days) for life in sorted(LIVES))
            raise errors.InvalidParameter(
                f"A link can last {', '.join(days)} or {most} days.",
                field="life",
                suggestions=("Choose one of these.",),
            )
        token, now = secrets.token_urlsafe(24), self._clock()
        with self._database.write() as session:
            check_standing(session, user, now)
            image = _own(session, user, image_id)
            if image.trashed_at:
                raise errors.ImageNotFound
            share = ShareLink(
                id=sha256_hex(token),
                image_id=image.id,
                owner_id=user.user_id,
                created_at=now,
                expires_at=now + life,
            )
            session.add(share)
            self._tell(session, Action.SHARE_MADE, user, share)
        return token

    def shared_image(self, token: str, image_id: str) -> SharedImage | None:
        """What a link shows now; None for a token that is made up, over, withdrawn or another image's."""
        found = (
            select(Image)
            .join(ShareLink, col(ShareLink.image_id) == col(Image.id))
            .join(User, col(User.id) == col(Image.owner_id))
            .where(ShareLink.id == sha256_hex(token), ShareLink.expires_at > self._clock())
            .where(Image.id == storable_text(image_id), Image.owner_id == ShareLink.owner_id)
            .where(col(Image.trashed_at).is_(None), col(User.withdrawn_at).is_(None))
        )
        with self._database.read() as session:
            image = session.exec(found).one_or_none()
        return SharedImage(image.id, image.owner_id, image.mime, image.sha256) if image else None

    def list(self, user: SignedIn, image_id: str) -> tuple[ActiveShareLink, ...]:
        """The links of an image that aren't over, newest first. Raises ImageNotFound."""
        with self._database.read() as session:
            image = _own(session, user, image_id)
            found = session.exec(
                select(ShareLink)
                .where(ShareLink.image_id == image.id, ShareLink.owner_id == user.user_id)
                .where(ShareLink.expires_at > self._clock())
                .order_by(col(ShareLink.created_at).desc(), col(ShareLink.id))
            )
            return tuple(
                ActiveShareLink(row.id, row.image_id, row.created_at, row.expires_at) for row in found
            )

    def revoke(self, user: SignedIn, share_id: str) -> None:
        """End one link at once. Raises ImageNotFound for one that isn't this user's, or is gone."""
        mine = (col(ShareLink.id) == storable_text(share_id), col(ShareLink.owner_id) == user.user_id)
        with self._database.write() as session:
            ended = session.scalars(delete(ShareLink).where(*mine).returning(ShareLink)).one_or_none()
            if ended is None:
                raise errors.ImageNotFound
            self._tell(session, Action.SHARE_WITHDRAWN, user, ended)

    def _tell(self, session: Session, action: Action, user: SignedIn, share: ShareLink) -> None:
        details = f"link {share.id[:SHARE_NAME]}, until {share.expires_at:%Y-%m-%d %H:%M} UTC"
        self._audit_log.record(session, action, actor=user.user_id, subject=share.image_id, details=details)

    def tidy(self) -> None:
        """Remove links that are over, and those of images that are gone."""
        gone = ~exists().where(col(Image.id) == col(ShareLink.image_id))
        with self._database.write() as session:
            session.execute(delete(ShareLink).where((col(ShareLink.expires_at) <= self._clock()) | gone))


def _own(session: Session, user: SignedIn, image_id: str) -> Image:
    image = session.get(Image, storable_text(image_id))
    if image is None or image.owner_id != user.user_id:
        raise errors.ImageNotFound
    return image
