"""Errors of backups, of transfers to another database or storage, and of settings."""

from __future__ import annotations

from core.errors.base import ImageError


class BackupError(ImageError):
    code, retryable = "IMG-BACKUP-001", False
    message = "The backup can't be created or restored this way."
    suggestions: tuple[str, ...] = ("Fix what is named above, then try again.",)


class BackupDamaged(BackupError):
    code = "IMG-BACKUP-FILE-001"
    message = "This file isn't a backup, or it is damaged."
    suggestions = ("Nothing was changed.", "Use another backup, or copy this one again.")


class TransferIncomplete(ImageError):
    code = "IMG-MOVE-001"
    message = "Not everything was copied correctly."
    suggestions = (
        "Nothing was changed here.",
        "Run the same command again: it continues where it stopped.",
        "If the same problems remain, start with an empty database and an empty store.",
    )


class SettingsError(ImageError):
    code, retryable = "IMG-SET-001", False
    message = "A setting is wrong."
    suggestions: tuple[str, ...] = ("Correct the setting named above, then start again.",)


class ApiKeyMalformed(SettingsError):
    code = "IMG-SET-KEY-001"
    message = "OPENAI_API_KEY contains characters that can't be in a key."
    suggestions = ("Copy the key again from the service's page: it is one word without quotes or spaces.",)
