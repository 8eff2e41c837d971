"""Uploads: images and masks that users provide. They are re-encoded, and stored until no job needs them."""

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

# The file name of an upload: its SHA-256 in base64, and its type.
UPLOAD_NAME = r"[\w-]{43}\.(png|jpg)"


@dataclass(frozen=True, slots=True)
class Upload:
    """A stored upload. `width` and `height` are in pixels."""

    key: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Uploads:
    """Stores the uploads of all users, each of at most `max_megabytes` MB.

    An upload's key consists of its owner's folder and the SHA-256 of its bytes. A decoded image takes up to
    100 MB of memory, so the API decodes one at a time (core.api.upload_queue).
    """

    storage: Storage
    max_megabytes: int

    def store(self, owner_id: str, file: BinaryIO) -> Upload:
        """Re-encode the image in `file` with `reencode`, store the new file, and return the upload.

        Raises the errors of `reencode`, and StorageError.
        """
        image = reencode(file, max_bytes=self.max_megabytes * MEGABYTE)
        return self._put(owner_id, image)

    def store_with_mask(self, owner_id: str, file: BinaryIO, mask: BinaryIO) -> tuple[Upload, Upload]:
        """Re-encode and store an image and its mask. Return the upload of the image, then that of the mask.

        Raises the errors of `reencode` and `reencode_mask`. If the image or the mask is rejected, neither is
        stored.
        """
        max_bytes = self.max_megabytes * MEGABYTE
        # The service needs image and mask in the same format, and a mask is a PNG.
        image = reencode(file, max_bytes=max_bytes, lossless=True)
        encoded_mask = reencode_mask(mask, size=(image.width, image.height), max_bytes=max_bytes)
        return self._put(owner_id, image), self._put(owner_id, encoded_mask)

    def store_mask(self, owner_id: str, file: BinaryIO, *, size: tuple[int, int]) -> Upload:
        """Re-encode and store a mask for an image of `size` (width and height in pixels). Return the upload.

        Raises the errors of `reencode_mask`, and StorageError.
        """
        mask = reencode_mask(file, size=size, max_bytes=self.max_megabytes * MEGABYTE)
        return self._put(owner_id, mask)

    def _put(self, owner_id: str, image: ReencodedImage) -> Upload:
        name = f"{_short_sha256(image.data)}.{file_extension(image.mime)}"
        key = f"{upload_folder(owner_id)}/{name}"
        # Store the file again even if it exists. Its new date keeps the clean-up from deleting it.
        self.storage.put(key, image.data)
        return Upload(key, image.width, image.height)

    def check(self, owner_id: str, *keys: str) -> None:
        """Raise UploadGone if one of `keys` isn't the key of a stored upload of this user."""
        for key in keys:
            if not (is_upload_of(owner_id, key) and self.storage.exists(key)):
                raise UploadGone


def read_upload(storage: Storage, owner_id: str, key: str) -> bytes:
    """Return the bytes of the upload with this `key`.

    Raises UploadGone if this user has no such upload, FileDamaged if its bytes have changed, and StorageError
    if its file can't be read.
    """
    if not is_upload_of(owner_id, key):
        raise UploadGone
    try:
        data = storage.get(key)
    except FileDamaged as error:
        raise UploadGone(details=error.details) from error
    if _short_sha256(data) not in key:
        raise FileDamaged(details=f"{key} has other bytes than were stored")
    return data


def is_upload_of(owner_id: str, key: str) -> bool:
    """Return whether `key` has the form of a key of this user's uploads. The upload itself may not exist."""
    folder, _, name = key.rpartition("/")
    return folder == upload_folder(owner_id) and re.fullmatch(UPLOAD_NAME, name, re.ASCII) is not None


def upload_mime(key: str) -> str:
    """Return the media type of an upload, from the extension of its key."""
    return "image/jpeg" if key.endswith(".jpg") else "image/png"


def _short_sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in base64, which has 43 characters.

    In hexadecimal, an upload's file name would be too long for the tar archive of a backup.
    """
    return urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=")
