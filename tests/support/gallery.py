"""Adds images to a gallery, and reads the query plans of its lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlmodel import select

from core.accounts.audit_log import AuditLog
from core.common.ids import new_id
from core.database.database import Database
from core.database.models import Image, User
from core.images.gallery import Gallery
from core.images.image_files import verify_image
from core.prompts.recipe import Recipe
from core.storage.folder import open_folder
from core.storage.storage import Storage
from tests.support.app_process import AppProcess
from tests.support.images import plain_png

FOX = Recipe(prompt="a fox in the snow", model="gpt-image-2")


@dataclass
class Keeper:
    gallery: Gallery
    database: Database
    storage: Storage

    def keep(self, user: User, recipe: Recipe = FOX, **changes: Any) -> Image:
        job_id, index = changes.pop("job_id", None) or new_id(), changes.pop("index", 0)
        data = changes.pop("data", plain_png(20, 10))
        key = f"images/{job_id}/{index}.png"
        self.storage.put(key, data)
        fields = {"job_id": job_id, "index": index, "file_key": key, "file_bytes": len(data)} | changes
        with self.database.write() as session:
            return self.gallery.add(
                session, owner_id=user.id, recipe=recipe, info=verify_image(data), **fields
            )


@contextmanager
def keeper_of(app: AppProcess, username: str) -> Iterator[tuple[Keeper, User]]:
    """What stores images for a user of the running `app`, and the user."""
    with closing(Database(app.database_url)) as database:
        storage = open_folder(app.data_dir / "files")
        with database.read() as session:
            user = session.exec(select(User).where(User.username == username)).one()
        yield Keeper(Gallery(database, storage, AuditLog(database)), database, storage), user


@contextmanager
def plans_of(database: Database) -> Iterator[list[str]]:
    """SQLite's plan of each SELECT inside the block."""
    plans: list[str] = []

    def note(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            cursor = connection.connection.cursor()
            plan = cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            plans.append("; ".join(row[3] for row in plan))

    event.listen(database.engine, "before_cursor_execute", note)
    yield plans
    event.remove(database.engine, "before_cursor_execute", note)
