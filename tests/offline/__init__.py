"""Tests of core.offline."""
