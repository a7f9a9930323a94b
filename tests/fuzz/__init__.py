"""Every parser that strangers' bytes reach, under bytes that nobody would send.

    python -m tests.fuzz --seconds 3600

`TARGETS` (``targets.py``) is the table. The suite replays seeds and findings, and some mutations of
them, always the same; ``make fuzz`` lets atheris (libFuzzer, guided by coverage) make millions.
"""
