"""The operator commands by their old names, such as `python -m core.doctor`, for one more release.

`core` searches this folder for its modules, too, so that Python finds `core.doctor` here.
"""
