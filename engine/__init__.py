"""The SPICE engine: images → views → features → prototypes → pseudo-labels → reliable set → labels.

It is independent of the user interface: training writes a run folder, and readers only need that folder.
"""
