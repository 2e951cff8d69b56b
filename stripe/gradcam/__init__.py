"""Grad-CAM averages: where a network looks, over a whole data set, at the price of inference.

Selvaraju et al., *Grad-CAM: Visual explanations from deep networks via gradient-based localization*, ICCV 2017; the
averages are those of the Stripe Observation paper, fig. 6. This package knows nothing of our models or data.
"""

from stripe.gradcam.average import gradcam
from stripe.gradcam.file import check, save
from stripe.gradcam.layers import find_layer
from stripe.gradcam.maps import GradCam, Maps

__all__ = ["GradCam", "Maps", "check", "find_layer", "gradcam", "save"]
