"""Structural similarity: how visible a change is to people."""

import numpy as np


def ssim(bases: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(N,) mean structural similarity of each image to its base, over a Gaussian window of 1.5 pixels.

    Args:
        bases: (N, C, H, W) uint8.
        images: (N, C, H, W), pixels in [0, 1].

    Source: Wang, Bovik, Sheikh, Simoncelli 2004, *Image quality assessment*, with its constants.
    """
    from skimage.metrics import structural_similarity  # a second to import

    settings = {"channel_axis": 0, "data_range": 1.0, "gaussian_weights": True, "use_sample_covariance": False}
    pairs = zip(bases.astype(np.float64) / 255, images.astype(np.float64), strict=True)
    return np.array([structural_similarity(base, image, **settings) for base, image in pairs])
