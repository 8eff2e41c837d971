"""The background chores of the running app, and the commands for the operator of an installation."""
