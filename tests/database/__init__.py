"""Tests of core.database."""
