"""The SPICE engine: images → views → features → prototypes → pseudo-labels → reliable set → labels.

It knows nothing of screens: whoever trains writes a run folder, whoever looks reads it.
"""
