"""The deprecated names of the operator commands, such as `python -m core.doctor`.

They work for one more release. `core/__init__.py` adds this folder to the package's search path, so that
Python finds the module `core.doctor` here.
"""
