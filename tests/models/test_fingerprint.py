from __future__ import annotations

import torch
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor

from fewstep.models.fingerprint import DIGITS, module_fingerprint


def test_a_fingerprint_names_the_tensors_whatever_object_holds_them():
    torch.manual_seed(0)
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    names = {module_fingerprint(each) for each in (one, other)}
    assert len(names) == 2
    assert all(len(name) == DIGITS for name in names)
    other.load_state_dict(one.state_dict())
    assert module_fingerprint(one) == module_fingerprint(other)
    assert module_fingerprint(one.bfloat16()) != module_fingerprint(other)


def test_tensors_made_of_tensors_are_named_by_their_parts():
    def quantised(scale: float) -> nn.Module:
        holder = nn.Module()
        numbers, scales = torch.ones(4, 4), torch.full((4, 4), scale)
        holder.register_parameter("weight", nn.Parameter(TwoTensor(numbers, scales), requires_grad=False))
        return holder

    assert module_fingerprint(quantised(1.0)) == module_fingerprint(quantised(1.0))
    assert module_fingerprint(quantised(1.0)) != module_fingerprint(quantised(2.0))
