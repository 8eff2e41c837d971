"""Background chores of the running app, and the commands with which an operator maintains an installation.

An installation is one database with one storage of files. The commands run as `python -m core NAME`.
"""
