"""Chores of a running installation, and the operator commands."""
