"""Pictures that people upload to be worked from: made anew, and kept until no job needs them."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

from core.common.media_types import MEGABYTE, file_extension
from core.errors import FileDamaged, UploadGone
from core.images.reencoding import ReencodedImage, reencode, reencode_mask
from core.storage.keys import upload_folder
from core.storage.storage import Storage

NAME = r"[\w-]{43}\.(png|jpg)"


@dataclass(frozen=True, slots=True)
class Upload:
    """A kept picture; `width` and `height` are in pixels."""

    key: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Uploads:
    """The uploads of all users, each under its owner and its SHA-256, of at most `max_megabytes`.

    A decoded picture takes up to 100 MB, so the API decodes one at a time (core.api.upload_queue).
    """

    storage: Storage
    max_megabytes: int

    def store(self, owner_id: str, file: BinaryIO) -> Upload:
        """Keep the picture in `file`; see `reencoding.reencode` for what is taken and what it becomes."""
        picture = reencode(file, max_bytes=self.max_megabytes * MEGABYTE)
        return self._put(owner_id, picture)

    def store_with_mask(self, owner_id: str, file: BinaryIO, mask: BinaryIO) -> tuple[Upload, Upload]:
        """Keep the picture in `file` and the mask for it, or none of them where one is refused."""
        most = self.max_megabytes * MEGABYTE
        # A mask goes with a picture of its own format.
        picture = reencode(file, max_bytes=most, lossless=True)
        hole = reencode_mask(mask, size=(picture.width, picture.height), max_bytes=most)
        return self._put(owner_id, picture), self._put(owner_id, hole)

    def store_mask(self, owner_id: str, file: BinaryIO, *, size: tuple[int, int]) -> Upload:
        """Keep the mask in `file` for a picture of `size` in pixels."""
        mask = reencode_mask(file, size=size, max_bytes=self.max_megabytes * MEGABYTE)
        return self._put(owner_id, mask)

    def _put(self, owner_id: str, picture: ReencodedImage) -> Upload:
        name = f"{_digest(picture.data)}.{file_extension(picture.mime)}"
        key = f"{upload_folder(owner_id)}/{name}"
        # Also where it is there already: what is put anew is young, and isn't cleared away.
        self.storage.put(key, picture.data)
        return Upload(key, picture.width, picture.height)

    def check(self, owner_id: str, *keys: str) -> None:
        """Raise UploadGone unless all of `keys` are this user's and kept."""
        for key in keys:
            if not (is_of(owner_id, key) and self.storage.exists(key)):
                raise UploadGone


def read(storage: Storage, owner_id: str, key: str) -> bytes:
    """A kept upload's bytes. Raises UploadGone, also for somebody else's, or StorageError."""
    if not is_of(owner_id, key):
        raise UploadGone
    try:
        data = storage.get(key)
    except FileDamaged as error:
        raise UploadGone(details=error.details) from error
    if _digest(data) not in key:
        raise FileDamaged(details=f"{key} has other bytes than were stored")
    return data


def is_of(owner_id: str, key: str) -> bool:
    """Whether `key` names an upload of this user's."""
    folder, _, name = key.rpartition("/")
    return folder == upload_folder(owner_id) and re.fullmatch(NAME, name, re.ASCII) is not None


def mime_of(key: str) -> str:
    """The type of a kept upload, which its name ends in."""
    return "image/jpeg" if key.endswith(".jpg") else "image/png"


def _digest(data: bytes) -> str:
    """The SHA-256 in 43 letters: in hex, a backup's archive would have no room for the name."""
    return urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=")
