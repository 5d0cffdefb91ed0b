"""Features and their Jacobian: by autograd, or faster where the network is a chain of convolutions.

A step of Levenberg-Marquardt needs f(x) to know whether to keep a point, and the Jacobian only where it is kept. So
both ways give features first, and rows of the Jacobian when they are asked for.
"""

import os
from functools import partial

from lgm.attacks.jacobian.autograd import Linearise, exact_jacobian
from lgm.attacks.jacobian.cnn import FastJacobian
from lgm.models.classifier import Classifier


def jacobian_of(model: Classifier) -> Linearise:
    """The fastest way from images (N, C, H, W) in [0, 1] to features (N, D) and the rows of their Jacobian.

    The second value is a function: it takes the positions (M,) of the images that matter, ascending and at least one,
    and gives (M, D, pixels). ``LGM_EXACT_JACOBIAN=1`` in the environment: autograd for all networks.
    """
    exact = os.environ.get("LGM_EXACT_JACOBIAN") == "1" or not FastJacobian.fits(model)
    return partial(exact_jacobian, model) if exact else FastJacobian(model)
