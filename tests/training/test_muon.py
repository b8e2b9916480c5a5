"""Muon on kernels: orthogonal updates, equal to torch's on matrices, blind to memory layout."""

from __future__ import annotations

import pytest
import torch

from fewstep.training.muon import KernelMuon, orthogonalise


@pytest.mark.parametrize("shape", [(8, 32), (32, 8), (16, 16)])
def test_orthogonalise_moves_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_orthogonalise_of_a_rank_one_matrix_keeps_its_direction() -> None:
    u, v = torch.tensor([3.0, 4.0]) / 5, torch.tensor([0.0, 1.0, 0.0])
    found = orthogonalise(7 * torch.outer(u, v))
    assert torch.allclose(found / found.norm(), torch.outer(u, v), atol=1e-4)


def test_a_kernel_updates_as_torch_updates_the_flattened_matrix() -> None:
    start, grads = torch.randn(6, 2, 3, 3), [torch.randn(6, 2, 3, 3) for _ in range(3)]
    kernel, matrix = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.reshape(6, 18).clone())
    ours = KernelMuon([kernel], lr=0.1, weight_decay=0.1)
    theirs = torch.optim.Muon([matrix], lr=0.1, weight_decay=0.1, momentum=0.95)
    for grad in grads:
        kernel.grad, matrix.grad = grad.clone(), grad.reshape(6, 18).clone()
        ours.step()
        theirs.step()
    # torch iterates in bfloat16
    assert (kernel.reshape(6, 18) - matrix).abs().max() < 0.01 * 3


def test_memory_layout_does_not_change_the_update() -> None:
    start, grad = torch.randn(4, 3, 3, 3, 3), torch.randn(4, 3, 3, 3, 3)
    kernels = [torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone(memory_format=torch.channels_last_3d))]
    for kernel in kernels:
        kernel.grad = grad.clone()
        KernelMuon([kernel], lr=0.1).step()
    assert torch.equal(kernels[0], kernels[1])
