"""Tests of core.maintenance."""
