"""Share links: anyone with the link can see one image, its name and who shared it, but not its prompt."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func
from sqlmodel import Session, col, select

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import SignedIn, check_standing
from core.common.clock import utc_now
from core.common.ids import sha256_hex
from core.common.text import storable_text
from core.database.database import Database
from core.database.models import Image, ShareLink, User

# The times after which a link may expire, the default first.
LIFETIMES = (timedelta(days=7), timedelta(days=1), timedelta(days=30))
# A user has at most this many links that haven't expired.
MAX_LINKS_PER_USER = 200
# The query parameter of an image's URL that holds the token.
SHARE_PARAM = "share"
# The audit log shows this many characters of a link's id.
AUDITED_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class ActiveShareLink:
    """A share link that hasn't expired. Its `id` is not the secret token, so knowing the id opens nothing."""

    id: str
    image_id: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SharedImage:
    """The fields of an image that a visitor with a share link may see.

    `owner_id` is used to read the image's bytes from the gallery. `width` and `height` are in pixels, and
    `expires_at` is the time at which the link ends. The prompts and the price are left out, so that no page
    can show them by mistake.
    """

    id: str
    owner_id: str
    name: str
    owner_name: str
    width: int
    height: int
    expires_at: datetime

    @property
    def title(self) -> str:
        return self.name.strip() or "Untitled image"


class ShareLinks:
    """Creates, checks and revokes share links. Only the SHA-256 of a link's token is stored.

    Each use of a link is checked in the database. A link stops working as soon as its owner revokes it or
    moves the image to the trash, or as soon as an administrator withdraws the owner's access. The methods
    raise ImageNotFound for an image or a link of another user.
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
        """Create a link to one of this user's images, and return the link's secret token.

        `life` is the time until the link expires. Raises ImageNotFound if there is no such image or if it is
        in the trash, InvalidParameter if `life` isn't one of LIFETIMES, TooManyShareLinks if the user has
        MAX_LINKS_PER_USER links, and SessionEnded if the user's session has ended.
        """
        if life not in LIFETIMES:
            *days, longest = (str(life.days) for life in sorted(LIFETIMES))
            raise errors.InvalidParameter(
                f"A link can last {', '.join(days)} or {longest} days.",
                field="life",
                suggestions=("Choose one of these.",),
            )
        token, now = secrets.token_urlsafe(24), self._clock()
        with self._database.write() as session:
            check_standing(session, user, now)
            image = _own(session, user, image_id)
            if image.trashed_at:
                raise errors.ImageNotFound
            # `check_standing` has locked the user's row, so simultaneous clicks are counted one by one.
            self._check_count(session, user.user_id, now)
            share = ShareLink(
                id=sha256_hex(token),
                image_id=image.id,
                owner_id=user.user_id,
                created_at=now,
                expires_at=now + life,
            )
            session.add(share)
            self._record(session, Action.SHARE_MADE, user, share)
        return token

    def _check_count(self, session: Session, user_id: str, now: datetime) -> None:
        mine = (col(ShareLink.owner_id) == user_id, col(ShareLink.expires_at) > now)
        count = session.execute(select(func.count()).select_from(ShareLink).where(*mine)).scalar_one()
        if count >= MAX_LINKS_PER_USER:
            raise errors.TooManyShareLinks(f"You already have {MAX_LINKS_PER_USER} share links.")

    def shared_image(self, token: str, image_id: str) -> SharedImage | None:
        """Return the image `image_id` if the link with this `token` shows it to visitors.

        Returns None if the link is unknown, expired or revoked, or if it is a link to another image. Also
        returns None if the image is in the trash, or if the owner's access was withdrawn.
        """
        found = (
            select(Image, ShareLink, User)
            .join(ShareLink, col(ShareLink.image_id) == col(Image.id))
            .join(User, col(User.id) == col(Image.owner_id))
            .where(ShareLink.id == sha256_hex(token), ShareLink.expires_at > self._clock())
            .where(Image.id == storable_text(image_id), Image.owner_id == ShareLink.owner_id)
            .where(col(Image.trashed_at).is_(None), col(User.withdrawn_at).is_(None))
        )
        with self._database.read() as session:
            row = session.exec(found).one_or_none()
        if row is None:
            return None
        image, link, owner = row
        return SharedImage(
            id=image.id, owner_id=image.owner_id, name=image.name, owner_name=owner.display_name,
            width=image.width, height=image.height, expires_at=link.expires_at,
        )  # fmt: skip

    def list(self, user: SignedIn, image_id: str) -> tuple[ActiveShareLink, ...]:
        """Return the links of an image that haven't expired, newest first. Raises ImageNotFound."""
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
        """Revoke a link at once. `share_id` is the `id` of the ActiveShareLink.

        Raises ImageNotFound if this user has no such link.
        """
        mine = (col(ShareLink.id) == storable_text(share_id), col(ShareLink.owner_id) == user.user_id)
        with self._database.write() as session:
            ended = session.scalars(delete(ShareLink).where(*mine).returning(ShareLink)).one_or_none()
            if ended is None:
                raise errors.ImageNotFound
            self._record(session, Action.SHARE_WITHDRAWN, user, ended)

    def _record(self, session: Session, action: Action, user: SignedIn, share: ShareLink) -> None:
        details = f"link {share.id[:AUDITED_ID_LENGTH]}, until {share.expires_at:%Y-%m-%d %H:%M} UTC"
        self._audit_log.record(session, action, actor=user.user_id, subject=share.image_id, details=details)

    def tidy(self) -> None:
        """Delete the links that have expired, and the links to images that no longer exist."""
        gone = ~exists().where(col(Image.id) == col(ShareLink.image_id))
        with self._database.write() as session:
            session.execute(delete(ShareLink).where((col(ShareLink.expires_at) <= self._clock()) | gone))


def _own(session: Session, user: SignedIn, image_id: str) -> Image:
    image = session.get(Image, storable_text(image_id))
    if image is None or image.owner_id != user.user_id:
        raise errors.ImageNotFound
    return image
