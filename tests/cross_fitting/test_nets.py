"""Nets give a density ratio that sums to one and has a floor."""

import numpy as np
import pytest
from scipy import special

from mi_classifier.cross_fitting.nets import log_ratio


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_log_ratio_is_a_density_ratio_with_a_floor(scale):
    logits = scale * np.random.default_rng(0).standard_normal((50, 4)).astype("f4")
    prior = np.array([0.5, 0.3, 0.2, 0.0])
    with np.errstate(divide="ignore"):
        log_prior = np.log(prior).astype("f4")
    doubt = np.float32(-np.log(1_000))
    ratio = np.asarray(log_ratio(logits, log_prior, doubt))
    np.testing.assert_allclose(np.exp(ratio) @ prior, 1, rtol=1e-5)
    assert ratio.min() >= doubt - 1e-5
    assert (ratio[:, 3] == 0).all()
    # One part in a thousand is the prior's, the rest the net's.
    posterior = special.softmax(logits[:, :3].astype("f8") + log_prior[:3], axis=1)
    mixed = 0.999 * posterior + 0.001 * prior[:3]
    np.testing.assert_allclose(np.exp(ratio[:, :3]) * prior[:3], mixed, rtol=1e-3)
