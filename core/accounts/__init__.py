"""Users, passwords, browser sessions, API tokens and the audit log."""
