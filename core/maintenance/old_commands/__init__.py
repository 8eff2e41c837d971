"""Deprecated names of the operator commands, such as `python -m core.doctor`, for one more release.

`core/__init__.py` adds this folder to the package's search path, so that Python finds `core.doctor` here.
"""
