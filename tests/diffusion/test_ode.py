from __future__ import annotations

import pytest
import torch

from fewstep.diffusion.flow import x0_from_v
from fewstep.diffusion.guidance import guided_velocity
from fewstep.diffusion.ode import ode_grid, record_trajectory, sample_ode, states_at
from fewstep.diffusion.steps import shifted_levels

LEVELS = shifted_levels((1000, 750, 500, 250), shift=5.0)
TEXT = torch.zeros(2, 1, 1)


class PointMass:
    """The exact velocity field of data that is always `x0`: straight lines, on which Euler is exact."""

    def __init__(self, x0):
        self.x0 = x0

    def __call__(self, x, sigma, text):
        return (x - self.x0) / sigma[:, :, None, None, None]


class Gaussian:
    """The exact velocity field of N(mean, spread^2) data; the ODE carries noise z to mean + spread z."""

    def __init__(self, mean, spread):
        self.mean, self.spread = mean, spread

    def std(self, sigma):
        return ((1 - sigma) ** 2 * self.spread**2 + sigma**2) ** 0.5

    def at(self, z, sigma):
        return (1 - sigma) * self.mean + self.std(sigma) * z

    def __call__(self, x, sigma, text):
        s = sigma[:, :, None, None, None]
        score = (x - (1 - s) * self.mean) / self.std(s) ** 2
        return s * score - (self.mean + (1 - s) * self.spread**2 * score)


class Prompted:
    """A velocity that is the prompt's first number; counts its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, sigma, text):
        self.calls.append(x.shape[0])
        return torch.ones_like(x) * text[:, :1, :1, None, None]


def noise(frames=3):
    return torch.randn(2, frames, 2, 2, 2, generator=torch.Generator().manual_seed(0))


def test_the_grid_descends_from_one_to_zero_by_warped_uniform_steps():
    assert ode_grid(4, 5.0) == pytest.approx((1.0, 0.9375, 0.83333, 0.625, 0.0), abs=1e-5)


@pytest.mark.parametrize("steps", [4, 7, 48, 50])
def test_recorded_levels_are_exact_members_of_any_grid(steps):
    grid = ode_grid(steps, 5.0, LEVELS)
    assert set(LEVELS) <= set(grid)
    assert list(grid) == sorted(set(grid), reverse=True)
    assert len(grid) <= steps + 1 + len(LEVELS)
    assert len(ode_grid(48, 5.0, LEVELS)) == 49, "levels that fall on the grid add no steps"


def test_euler_follows_a_straight_line_exactly_in_one_step():
    x0 = torch.randn(2, 3, 2, 2, 2)
    sample = sample_ode(PointMass(x0), noise(), TEXT, steps=1, shift=5.0, guidance=1.0)
    assert torch.allclose(sample, x0, atol=1e-6)


def test_x0_from_every_recorded_state_of_a_perfect_field_is_the_endpoint():
    x0 = torch.randn(2, 3, 2, 2, 2)
    net = PointMass(x0)
    path = record_trajectory(net, noise(), TEXT, levels=LEVELS, steps=10, shift=5.0, guidance=1.0)
    assert path.shape == (2, 5, 3, 2, 2, 2)
    assert torch.equal(path[:, 0], noise())
    assert torch.allclose(path[:, -1], x0, atol=1e-5)
    for i, level in enumerate(LEVELS):
        sigma = torch.full((2, 3), level)
        assert torch.allclose(x0_from_v(path[:, i], net(path[:, i], sigma, TEXT), sigma), path[:, -1], atol=1e-5)


def test_recorded_states_lie_on_the_true_ode_solution_at_exactly_their_levels():
    net, z = Gaussian(mean=1.5, spread=0.5), noise()
    path = record_trajectory(net, z, TEXT, levels=LEVELS, steps=400, shift=5.0, guidance=1.0)
    for i, level in enumerate((*LEVELS, 0.0)):
        assert torch.allclose(path[:, i], net.at(z, level), atol=0.02), level


def test_more_steps_come_closer_to_the_true_endpoint():
    net, z = Gaussian(mean=1.5, spread=0.5), noise()
    errors = [
        (sample_ode(net, z, TEXT, steps=steps, shift=5.0, guidance=1.0) - net.at(z, 0.0)).abs().max().item()
        for steps in (5, 20, 80)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_guidance_extrapolates_between_prompts_and_batches_its_branches():
    text, null = torch.full((2, 1, 1), 3.0), torch.ones(2, 1, 1)
    x, sigma = noise(), torch.ones(2, 3)
    for batched, calls in ((True, [4]), (False, [2, 2])):
        net = Prompted()
        v = guided_velocity(net, x, sigma, text, null, 4.0, batched=batched)
        assert torch.equal(v, torch.full_like(x, 9.0))
        assert net.calls == calls


def test_guidance_one_runs_only_the_conditional_branch_and_others_need_a_null_prompt():
    net = Prompted()
    guided_velocity(net, noise(), torch.ones(2, 3), TEXT, None, 1.0)
    assert net.calls == [2]
    with pytest.raises(ValueError, match="null_text=None"):
        guided_velocity(net, noise(), torch.ones(2, 3), TEXT, None, 2.0)


def test_every_step_shows_where_its_velocity_points_and_the_last_is_the_sample():
    seen = []
    sample = sample_ode(
        PointMass(torch.zeros(2, 3, 2, 2, 2)),
        noise(),
        TEXT,
        steps=5,
        shift=5.0,
        guidance=1.0,
        on_step=lambda i, x: seen.append((i, x)),
    )
    assert [i for i, _ in seen] == [0, 1, 2, 3, 4]
    assert torch.allclose(seen[-1][1], sample, atol=1e-6)
    for _, x0 in seen:
        assert torch.allclose(x0, torch.zeros_like(x0), atol=1e-5), "a point mass is in sight from the first step"


def test_sampling_keeps_dtype_and_builds_no_graph():
    scale = torch.nn.Parameter(torch.ones(()))
    z = noise().bfloat16()
    sample = sample_ode(lambda x, sigma, text: scale.to(x) * x, z, TEXT, steps=2, shift=5.0, guidance=1.0)
    assert sample.dtype == torch.bfloat16
    assert not sample.requires_grad
    with pytest.raises(ValueError, match="at least 1 step"):
        sample_ode(PointMass(z), z, TEXT, steps=0, shift=5.0, guidance=1.0)


def test_states_are_gathered_per_clip_and_frame():
    path = torch.arange(2 * 3 * 2).float().view(2, 3, 2, 1, 1, 1)
    picked = states_at(path, torch.tensor([[0, 2], [1, 1]]))
    assert picked.flatten().tolist() == [0.0, 5.0, 8.0, 9.0]
