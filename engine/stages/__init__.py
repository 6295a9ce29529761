"""The three stages of SPICE. Each takes settings and artefacts and returns artefacts.

None of them sees ground truth or a metric. `emit` receives their events, `stop` is checked at every step,
and `checkpoint` lets a stopped stage resume where it was.
"""
