"""The promise under torture: real processes, real faults, and a checker over all that happened.

    python -m tests.torture --broker sqlite --seconds 60 --seed 7

See ``docs/reliability.rst``.
"""
