"""A data folder of an earlier version opens without any step by hand, and everything in it still works.

`old_data_folder.tar.gz` was written by commit b4c0c18 (November 2026, revision 0008) with the offline engine.
It holds the administrator Ada and the member Grace. Grace has an enhanced draft, four images of 64 x 64
pixels (one of them in the trash), a failed job, a share link, an API token and two idempotency keys. All
times of expiry were moved to the year 2099, so the test doesn't depend on today's date.
"""

from __future__ import annotations

import sqlite3
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import bcrypt
import pytest
from PIL import Image
from sqlmodel import col, select

from core import bootstrap
from core.accounts.passwords import prehash
from core.database.database import newest_revision
from core.database.models import AuditEntry, JobState, Scope
from core.images.gallery import Filters
from core.settings import load_settings
from core.storage.keys import thumbnail_key
from core.studio import Studio
from core.usage.idempotency import IdempotentRequest
from tests.support.waiting import until

ARCHIVE = Path(__file__).with_name("old_data_folder.tar.gz")
GRACE = "49eabb6a85d040b8a4cf47982d9a5e8f"
PASSWORDS = {"ada": "quiet orange harbour", "grace": "slow copper lantern"}
SESSION_TOKEN = "YDH29CfZRtvw8HxnpFN9o4-6CdnVBnIC-Sx9vYyyEXQ"
API_TOKEN = "atl_lZq9qs_vPUJjcBIlD6nn70Ew98aMLgyRuZewZXQzoc4"
SHARE_TOKEN = "UuBUDIOkwmp8rmUmixpkfPwG_ot8vOLd"
FAVOURITE = "aaa9d4e1131a42dfaa89f2a64fdcf4dc"
TRASHED = "b01f9d8a74cc4d4fb1eac7a0f9d263f8"
DONE_BATCH = "e082780d425e430b9af00f2711b02e5b"
FAILED_BATCH, FAILED_JOB = "5321d2d4b82545e2af3823724c051803", "d07fae011fb84a0b93a33217912c5718"
ORDERED_BATCH = "890b2267a1a147bf98b6d2fef62bab39"


@pytest.fixture(scope="module")
def old_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "data"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def studio(old_folder: Path) -> Iterator[Studio]:
    """The app of today on the old folder."""
    studio = bootstrap.build(load_settings(data_dir=old_folder))
    yield studio
    studio.close()


def test_the_tables_are_migrated(studio: Studio, old_folder: Path) -> None:
    assert studio.database.is_current()
    studio.database.close()
    with sqlite3.connect(old_folder / "atelier.db") as rows:
        assert rows.execute("SELECT version_num FROM alembic_version").fetchall() == [(newest_revision(),)]
        assert rows.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert rows.execute("PRAGMA foreign_key_check").fetchall() == []
    rows.close()


@pytest.mark.parametrize("username", PASSWORDS)
def test_people_sign_in_with_their_passwords(studio: Studio, username: str) -> None:
    stored = studio.passwords.stored_hash(username) or ""
    assert bcrypt.checkpw(prehash(PASSWORDS[username]).encode(), stored.encode())
    session_token = studio.sessions.redeem_ticket(studio.sessions.issue_ticket(username, stored))
    user = studio.sessions.authenticate(session_token)
    assert user is not None
    assert user.is_admin == (username == "ada")


def test_a_browser_that_was_signed_in_still_is(studio: Studio) -> None:
    user = studio.sessions.authenticate(SESSION_TOKEN)
    assert user is not None
    assert (user.user_id, user.username, user.display_name) == (GRACE, "grace", "Grace")


def test_the_draft_is_as_it_was(studio: Studio) -> None:
    draft = studio.drafts.load(GRACE)
    assert (draft.name, draft.base_prompt) == ("Moss", "a fox reading in a library")
    assert draft.traits == ("a red scarf", "round glasses")
    assert draft.is_enhanced
    assert draft.prompt == draft.enhanced_prompt == draft.versions[-1].text


def test_every_image_has_its_bytes_and_a_thumbnail(studio: Studio) -> None:
    images = studio.gallery.page(GRACE).images
    trashed = studio.gallery.page(GRACE, Filters(trash=True)).images
    assert len(images) == 3
    assert [image.id for image in trashed] == [TRASHED]
    for image in (*images, *trashed):
        data = studio.gallery.original(GRACE, image.id)  # raises FileDamaged where the SHA-256 differs
        with Image.open(BytesIO(data)) as picture:
            assert (picture.format, picture.size) == ("PNG", (64, 64)) == ("PNG", (image.width, image.height))
        with Image.open(BytesIO(studio.gallery.thumbnail(GRACE, image.id))) as thumbnail:
            assert thumbnail.format == "WEBP"


def test_a_stored_thumbnail_is_used_as_it_is(studio: Studio) -> None:
    stored = studio.storage.get(thumbnail_key(FAVOURITE))
    assert studio.gallery.thumbnail(GRACE, FAVOURITE) == stored


def test_a_renamed_favourite_is_found(studio: Studio) -> None:
    found = studio.gallery.page(GRACE, Filters(search="moss reader", favourites=True)).images
    assert [image.id for image in found] == [FAVOURITE]


def test_jobs_have_their_images_and_failures(studio: Studio) -> None:
    done = studio.batches.find(GRACE, DONE_BATCH)
    assert done.state == JobState.DONE
    assert FAVOURITE in [image.id for image in done.images]
    failed = studio.batches.find(GRACE, FAILED_BATCH)
    assert failed.state == JobState.FAILED
    assert [error.code for error in failed.failures] == ["IMG-GEN-QUOTA-001"]


def test_a_failed_job_can_be_tried_again(studio: Studio) -> None:
    batch_id = studio.jobs.retry(GRACE, FAILED_JOB)
    until(lambda: not studio.batches.find(GRACE, batch_id).is_live)
    assert [error.code for error in studio.batches.find(GRACE, batch_id).failures] == ["IMG-GEN-QUOTA-001"]


def test_a_share_link_still_shows_its_image(studio: Studio) -> None:
    shown = studio.share_links.shared_image(SHARE_TOKEN, FAVOURITE)
    assert shown is not None
    assert (shown.id, shown.owner_id) == (FAVOURITE, GRACE)


def test_an_api_token_still_signs_in(studio: Studio) -> None:
    user = studio.api_tokens.authenticate(API_TOKEN)
    assert user is not None
    assert user.user_id == GRACE
    assert user.scopes == {Scope.READ, Scope.GENERATE}


def test_idempotency_keys_still_answer(studio: Studio) -> None:
    asked = {"base_prompt": "a lighthouse", "name": "", "traits": [], "style": None, "level": "balanced"}
    answered = studio.idempotency.find(IdempotentRequest.of(GRACE, "order-1", "enhance-prompt", asked))
    assert answered is not None
    assert answered.status == 200
    assert "a lighthouse" in (answered.body or {})["text"]
    ordered = studio.idempotency.find(
        IdempotentRequest.of(GRACE, "order-2", "generate", {"prompt": "a lighthouse"})
    )
    assert ordered is not None
    assert ordered.batch_id == ORDERED_BATCH


def test_the_audit_log_is_kept(studio: Studio) -> None:
    with studio.database.read() as session:
        actions = session.exec(select(AuditEntry.action).order_by(col(AuditEntry.at))).all()
    assert actions[:9] == [
        "registration",
        "sign-in",
        "invitation made",
        "registration",
        "sign-in",
        "deletion",
        "share made",
        "token made",
        "sign-in failure",
    ]
