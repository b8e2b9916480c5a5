from __future__ import annotations

import torch

from fewstep.models.block import sinusoid


def test_sinusoid_puts_cosines_first():
    found = sinusoid(torch.tensor([[500.0]]), 4).flatten()
    expected = torch.tensor([500.0, 500.0 / 100]).double()
    torch.testing.assert_close(found.double(), torch.cat((expected.cos(), expected.sin())), rtol=0, atol=1e-4)
