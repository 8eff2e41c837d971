"""Errors of the file storage and the database."""

from __future__ import annotations

from core.errors.base import ImageError


class StorageError(ImageError):
    code, status, retryable = "IMG-STORE-001", 503, True
    message = "The image store can't be used right now."
    suggestions: tuple[str, ...] = (
        "Try again in a moment.",
        "Ask your administrator to check the image store.",
    )


class StorageUnreachable(StorageError):
    code = "IMG-STORE-CONN-001"
    message = "The image store doesn't answer as it should."
    suggestions = (
        "Try again in a moment.",
        "Ask your administrator to check the bucket's server and the network connection to it.",
    )


class StorageFull(StorageError):
    code, status = "IMG-STORE-FULL-001", 507
    message = "There is no space left to store images."
    suggestions = ("Ask your administrator to free up disk space.",)


class StorageReadOnly(StorageError):
    code = "IMG-STORE-READ-001"
    message = "The image store can't be written to."
    suggestions = ("Ask your administrator to make the data folder writable.",)


class FileDamaged(StorageError):
    code, status, retryable = "IMG-STORE-FILE-001", 500, False
    message = "This image's file is damaged."
    suggestions: tuple[str, ...] = ("Ask your administrator to restore it from a backup.",)


class FileMissing(FileDamaged):
    code = "IMG-STORE-GONE-001"
    message = "This image's file is missing."
    suggestions = (
        "Ask your administrator to check that the image store's disk or bucket is there.",
        "Ask your administrator to restore it from a backup.",
    )


class DatabaseError(ImageError):
    code, status, retryable = "IMG-DATA-001", 503, True
    message = "The database can't be used right now."
    suggestions: tuple[str, ...] = ("Try again in a moment.", "Ask your administrator to check the database.")


class DatabaseBusy(DatabaseError):
    code = "IMG-DATA-BUSY-001"
    message = "The database is busy."
    suggestions = ("Try again in a moment.", "If it happens often, tell your administrator.")


class DatabaseUnreachable(DatabaseError):
    code = "IMG-DATA-CONN-001"
    message = "The database can't be reached."
    suggestions = (
        "Try again in a moment.",
        "Ask your administrator to check DATABASE_URL, and whether the database is running.",
    )


class DatabaseVersionMismatch(DatabaseError):
    code, retryable = "IMG-DATA-VERSION-001", False
    message = "The database was created by another version of Atelier."
    suggestions = (
        "Start the version that created it, or a newer one.",
        "Restore a backup that this version created.",
    )


class DatabaseDamaged(DatabaseError):
    code, retryable = "IMG-DATA-DAMAGED-001", False
    message = "The database file is damaged."
    suggestions = (
        "Stop the app, move the file aside and restore the last backup.",
        "The images themselves are separate files and aren't affected.",
    )
