"""Servers of other projects, from PyPI and npm. `make proof` installs them in `.interop`."""
