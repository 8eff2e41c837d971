"""A share link shows one image until it expires or is revoked, and allows nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from sqlmodel import select

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.database.database import Database
from core.database.models import AuditEntry, Image, ShareLink
from core.images.gallery import Gallery
from core.images.share_links import LIFETIMES, MAX_LINKS_PER_USER, SharedImage, ShareLinks
from core.storage.storage import Storage
from tests.support.clock import Clock
from tests.support.sign_in import accounts_in, ticket_of
from tests.support.stored_images import StoredImages, images_of_new_user

WEEK = LIFETIMES[0]


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = utc_now()
    return clock


@pytest.fixture
def shares(database: Database, clock: Clock) -> ShareLinks:
    return ShareLinks(database, AuditLog(database, clock=clock), clock=clock)


@pytest.fixture
def stored(database: Database, storage: Storage) -> StoredImages:
    return images_of_new_user(database, storage)


@pytest.fixture
def owner(stored: StoredImages) -> SignedIn:
    return person(stored)


@pytest.fixture
def other(database: Database, storage: Storage) -> SignedIn:
    return person(images_of_new_user(database, storage, "grace"))


@pytest.fixture
def image(stored: StoredImages) -> Image:
    return stored.image()


def person(stored: StoredImages, *, admin: bool = False) -> SignedIn:
    """A signed-in user."""
    accounts = accounts_in(stored.database)
    found = accounts.sessions.authenticate(
        accounts.sessions.redeem_ticket(ticket_of(accounts, stored.user.username))
    )
    assert found
    return replace(found, is_admin=admin)


def rows(database: Database) -> list[ShareLink]:
    with database.read() as session:
        return list(session.exec(select(ShareLink)))


def test_a_link_shows_its_image_but_not_its_prompt(
    shares: ShareLinks, owner: SignedIn, image: Image, stored: StoredImages
) -> None:
    shown = shares.shared_image(shares.create(owner, image.id, WEEK), image.id)
    assert shown is not None
    assert (shown.id, shown.owner_id, shown.owner_name) == (image.id, owner.user_id, owner.display_name)
    assert shown.expires_at == shares.list(owner, image.id)[0].expires_at
    seen = {field.name for field in fields(SharedImage)}
    assert seen == {"id", "owner_id", "name", "owner_name", "width", "height", "expires_at"}
    assert stored.gallery.original(shown.owner_id, shown.id)
    assert stored.gallery.thumbnail(shown.owner_id, shown.id)


def test_an_ended_session_creates_no_link(
    shares: ShareLinks, owner: SignedIn, image: Image, database: Database
) -> None:
    accounts_in(database).sessions.sign_out_everywhere(owner)
    with pytest.raises(errors.SessionEnded):
        shares.create(owner, image.id, WEEK)
    assert rows(database) == []


def test_only_the_hash_of_a_token_is_stored(
    shares: ShareLinks, owner: SignedIn, image: Image, database: Database
) -> None:
    token = shares.create(owner, image.id, WEEK)
    (row,) = rows(database)
    assert token not in repr(row)
    assert shares.shared_image(row.id, image.id) is None
    assert token not in repr(shares.list(owner, image.id))


@pytest.mark.parametrize("token", ["", "made-up", "\udfff", "x\0", "a" * 10_000], ids=ascii)
def test_an_unknown_token_shows_nothing(
    shares: ShareLinks, owner: SignedIn, image: Image, token: str
) -> None:
    shares.create(owner, image.id, WEEK)
    assert shares.shared_image(token, image.id) is None


def test_a_token_opens_no_other_image(
    shares: ShareLinks,
    owner: SignedIn,
    other: SignedIn,
    image: Image,
    stored: StoredImages,
    database: Database,
) -> None:
    token = shares.create(owner, image.id, WEEK)
    second = stored.image(colour=1)
    assert shares.shared_image(token, second.id) is None
    assert shares.shared_image(token, "\udfff") is None


@pytest.mark.parametrize("life", LIFETIMES, ids=str)
def test_a_link_ends_when_it_expires(
    shares: ShareLinks, owner: SignedIn, image: Image, clock: Clock, life: timedelta
) -> None:
    token = shares.create(owner, image.id, life)
    clock.now += life - timedelta(seconds=1)
    assert shares.shared_image(token, image.id)
    clock.forward(seconds=1)
    assert shares.shared_image(token, image.id) is None
    assert shares.list(owner, image.id) == ()


@pytest.mark.parametrize("life", [timedelta(0), timedelta(days=-1), timedelta(days=31)], ids=str)
def test_other_lifetimes_are_refused(
    shares: ShareLinks, owner: SignedIn, image: Image, database: Database, life: timedelta
) -> None:
    with pytest.raises(errors.InvalidParameter):
        shares.create(owner, image.id, life)
    assert rows(database) == []


def stopped(shares: ShareLinks, owner: SignedIn, image: Image, stored: StoredImages) -> None:
    (share,) = shares.list(owner, image.id)
    shares.revoke(owner, share.id)


def all_stopped(shares: ShareLinks, owner: SignedIn, image: Image, stored: StoredImages) -> None:
    for share in shares.list(owner, image.id):
        shares.revoke(owner, share.id)


def trashed(shares: ShareLinks, owner: SignedIn, image: Image, stored: StoredImages) -> None:
    stored.gallery.trash(owner.user_id, image.id)


def purged(shares: ShareLinks, owner: SignedIn, image: Image, stored: StoredImages) -> None:
    trashed(shares, owner, image, stored)
    assert (
        sum(
            Gallery(stored.database, stored.storage, AuditLog(stored.database), trash_days=1).purge(
                utc_now() + timedelta(days=2)
            )
        )
        == 1
    )


def owner_withdrawn(shares: ShareLinks, owner: SignedIn, image: Image, stored: StoredImages) -> None:
    accounts = accounts_in(stored.database)
    accounts.users.withdraw(SignedIn("admin", "admin", "Admin", True, "-"), owner.user_id)


@pytest.mark.parametrize("ended", [stopped, all_stopped, trashed, purged, owner_withdrawn])
def test_a_link_stops_at_once(
    shares: ShareLinks, owner: SignedIn, image: Image, stored: StoredImages, ended: Callable[..., None]
) -> None:
    token = shares.create(owner, image.id, WEEK)
    ended(shares, owner, image, stored)
    assert shares.shared_image(token, image.id) is None


def test_revoking_one_link_leaves_the_others(shares: ShareLinks, owner: SignedIn, image: Image) -> None:
    first, second = (shares.create(owner, image.id, life) for life in LIFETIMES[:2])
    latest_to_end = max(shares.list(owner, image.id), key=lambda share: share.expires_at)
    shares.revoke(owner, latest_to_end.id)
    assert shares.shared_image(first, image.id) is None
    assert shares.shared_image(second, image.id)


def test_only_the_owner_creates_lists_and_revokes_links(
    shares: ShareLinks, owner: SignedIn, other: SignedIn, image: Image
) -> None:
    token = shares.create(owner, image.id, WEEK)
    (share,) = shares.list(owner, image.id)
    admin = replace(other, is_admin=True)
    for stranger in (other, admin):
        for attempt in (
            lambda who: shares.create(who, image.id, WEEK),
            lambda who: shares.list(who, image.id),
            lambda who: shares.revoke(who, share.id),
        ):
            with pytest.raises(errors.ImageNotFound):
                attempt(stranger)
    assert shares.shared_image(token, image.id)


def test_a_link_allows_no_change_and_no_deletion(
    shares: ShareLinks, owner: SignedIn, other: SignedIn, image: Image, stored: StoredImages
) -> None:
    """Incident 2: sharing implied deleting."""
    token = shares.create(owner, image.id, WEEK)
    gallery = stored.gallery
    for holder in (other.user_id, token, shares.list(owner, image.id)[0].id):
        for attempt in (
            lambda who: gallery.trash(who, image.id),
            lambda who: gallery.change(who, image.id, favourite=True),
            lambda who: gallery.restore(who, image.id),
            lambda who: gallery.get(who, image.id),
            lambda who: gallery.download(who, image.id, with_prompt=True),
        ):
            with pytest.raises(errors.ImageNotFound):
                attempt(holder)
    assert gallery.get(owner.user_id, image.id).trashed_at is None


def test_an_image_in_the_trash_is_not_shared(
    shares: ShareLinks, owner: SignedIn, image: Image, stored: StoredImages
) -> None:
    stored.gallery.trash(owner.user_id, image.id)
    with pytest.raises(errors.ImageNotFound):
        shares.create(owner, image.id, WEEK)


def trail(database: Database) -> list[AuditEntry]:
    """The entries of the audit log except registrations and sign-ins."""
    with database.read() as session:
        return list(session.exec(select(AuditEntry).where(AuditEntry.action != Action.SIGN_IN)))


def test_creating_and_revoking_is_audited_without_the_token(
    shares: ShareLinks, owner: SignedIn, image: Image, stored: StoredImages, database: Database
) -> None:
    tokens = [shares.create(owner, image.id, WEEK) for _ in range(3)]
    for share in shares.list(owner, image.id):
        shares.revoke(owner, share.id)
    entries = trail(database)
    actions = sorted(entry.action for entry in entries)
    assert actions == [Action.SHARE_MADE] * 3 + [Action.SHARE_WITHDRAWN] * 3
    assert {(entry.actor_id, entry.subject) for entry in entries} == {(owner.user_id, image.id)}
    assert not any(token[:8] in repr(entry) for token in tokens for entry in entries)


def test_refused_requests_are_not_audited(
    shares: ShareLinks, other: SignedIn, image: Image, database: Database
) -> None:
    with pytest.raises(errors.ImageNotFound):
        shares.revoke(other, image.id)
    assert trail(database) == []


def test_links_are_listed_newest_first(
    shares: ShareLinks, owner: SignedIn, image: Image, clock: Clock
) -> None:
    for life in LIFETIMES:
        shares.create(owner, image.id, life)
        clock.forward(seconds=1)
    lives = [share.expires_at - share.created_at for share in shares.list(owner, image.id)]
    assert lives == list(reversed(LIFETIMES))


def test_clean_up_deletes_expired_links_and_those_without_an_image(
    shares: ShareLinks, owner: SignedIn, image: Image, stored: StoredImages, clock: Clock, database: Database
) -> None:
    day, week = timedelta(days=1), timedelta(days=7)
    shares.create(owner, image.id, day)
    kept = shares.create(owner, image.id, week)
    gone = stored.image(colour=1)
    shares.create(owner, gone.id, week)
    stored.delete_row(gone)
    clock.now += day
    shares.tidy()
    assert len(rows(database)) == 1
    assert shares.shared_image(kept, image.id)


def test_a_user_has_a_limited_number_of_links_that_have_not_expired(
    shares: ShareLinks, owner: SignedIn, other: SignedIn, image: Image, clock: Clock, database: Database
) -> None:
    with database.write() as session:
        for number in range(MAX_LINKS_PER_USER):
            session.add(
                ShareLink(
                    id=f"{number:064}",
                    image_id=image.id,
                    owner_id=owner.user_id,
                    created_at=clock(),
                    expires_at=clock() + (WEEK if number else timedelta(minutes=1)),
                )
            )
    with pytest.raises(errors.TooManyShareLinks):
        shares.create(owner, image.id, WEEK)
    clock.now += timedelta(minutes=2)
    shares.create(owner, image.id, WEEK)
    with pytest.raises(errors.TooManyShareLinks):
        shares.create(owner, image.id, WEEK)
    shares.revoke(owner, f"{1:064}")
    shares.create(owner, image.id, WEEK)
