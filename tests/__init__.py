"""Tests, in the rooms of the code they test; `support` holds their helpers."""
