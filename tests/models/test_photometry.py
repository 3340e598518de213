"""The head that reads magnitudes off the measurements of a picture."""

import numpy as np
import torch

from hifrac.models.photometry import PHOTOMETRIC, PhotometryHead, bound


def test_quantities_come_in_their_units():
    torch.manual_seed(0)
    head = PhotometryHead(7).eval()
    head.center.copy_(torch.arange(len(PHOTOMETRIC)))
    head.scale.fill_(0.1)
    features = torch.randn(5, 7)
    standard = head.linear(bound(features)) + head.deep(bound(features))
    np.testing.assert_allclose(head(features).detach(), (0.1 * standard + head.center).detach(), rtol=1e-6)


def test_one_odd_measurement_does_not_move_it_without_bound():
    torch.manual_seed(0)
    head = PhotometryHead(7).eval()
    features = torch.zeros(2, 7)
    features[:, 3] = torch.tensor([1e3, 1e6])
    np.testing.assert_allclose(*head(features).detach(), atol=1e-4)
