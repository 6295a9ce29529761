"""Runs: the order of the stages, the run folder they write, and the thread they run in."""
