"""The broker ``sqlite:``, one file for one process: the default."""
