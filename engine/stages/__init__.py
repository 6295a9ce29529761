"""The three stages of SPICE. Each takes settings and artefacts and returns artefacts.

None of them sees ground truth or a metric. `emit` takes their events, `stop` is asked at every step,
and `checkpoint` lets a stage that was stopped go on where it was.
"""
