"""Views: randomly changed images, for a whole batch at once, on the batch's own device.

Every function takes x (M, C, H, W) float32 in 0–1 with C = 1 or 3 and a `torch.Generator` of the
same device, draws new random numbers for every image, and returns the same shape and range.
"""

from engine.views.contrastive import contrastive_view
from engine.views.strong import strong_view
from engine.views.weak import weak_view

__all__ = ["contrastive_view", "strong_view", "weak_view"]
