import math

import pytest
import torch

from vermilion.optim import PALM, AdaptivePGM, BarzilaiBorwein, GramLipschitz, InertialPALM, TopCurvature
from vermilion.optim.steps import Block, Change, Move, Trial
from vermilion.optim.steps.curvature import lanczos
from vermilion.prox import NonNegative


def quadratic(H, x):
    """A block that stands at x under 1/2 x'H x, with its gradient."""
    p = x.clone().requires_grad_()
    group = {"params": [p]}

    def evaluate():
        p.grad = H @ p.detach()
        return 0.5 * p.detach() @ H @ p.detach()

    evaluate()
    return Block(group, [Move(group, p, x.clone(), p.grad.clone(), p.grad)], evaluate, {p: {}})


def symmetric(eigenvalues, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n = len(eigenvalues)
    Q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    return Q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ Q.T


def start(n, seed=1):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@torch.no_grad()
def test_products_with_the_hessian_are_those_of_the_matrix():
    H = symmetric([5.0, 2.0, -1.0])
    block = quadratic(H, start(3))
    p, v = block.moves[0].parameter, start(3, 2)
    before = p.clone()
    torch.testing.assert_close(block.product(v), H @ v, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(block.product(v, lambda: 0.5 * p @ H @ p), H @ v, rtol=1e-13, atol=1e-13)
    assert torch.equal(p, before)
    assert block.group["gradient_evaluations"] == 2


@torch.no_grad()
def test_an_objective_that_is_linear_in_the_block_has_no_curvature():
    block = quadratic(torch.eye(2, dtype=torch.float64), start(2))
    assert block.product(start(2, 5), lambda: 3 * block.moves[0].parameter.sum()).tolist() == [0.0, 0.0]


@torch.no_grad()
def test_lanczos_finds_all_of_three_eigenvalues_in_three_steps():
    H = symmetric([7.0, 7.0, 3.0, 1.0, 1.0])
    x = start(5)
    top, vector = lanczos(lambda v: H @ v, x / x.norm(), 3)
    assert top == pytest.approx(7.0, rel=1e-10)
    torch.testing.assert_close(H @ vector, 7 * vector, rtol=1e-7, atol=1e-7)


@torch.no_grad()
def test_the_step_is_the_inverse_of_the_top_curvature():
    rule, block = TopCurvature(iterations=4), quadratic(symmetric([9.0, 4.0, 2.0, 1.0]), start(4))
    assert rule.size(block.group) == 0.0
    rule.prepare(block)
    assert rule.size(block.group) == pytest.approx(1 / 9, rel=1e-8)


@torch.no_grad()
def test_the_curvature_is_looked_at_less_often_while_it_stays():
    rule, block = TopCurvature(iterations=3, refresh=2), quadratic(symmetric([9.0, 4.0, 1.0]), start(3))
    costs = []
    for _ in range(60):
        rule.prepare(block)
        costs.append(block.group["gradient_evaluations"])
    # 3 at the start, then after 2, 4, 8, 16 moves
    assert costs[0] == 3
    assert costs[-1] == 3 + 4


def test_a_move_that_reveals_more_curvature_raises_it():
    rule, group = TopCurvature(), {"curvature": 2.0, "wait": 5, "interval": 5}
    rule.observe(group, Change(length=1.0, twist=1.0, turn=1.0))
    assert rule.size(group) == 0.5
    rule.observe(group, Change(length=1.0, twist=3.0, turn=16.0))
    assert rule.size(group) == 0.25
    assert group["wait"] == 0


def test_the_adaptive_step_by_hand():
    # step 1, and 1 before: growth at most sqrt(2). L^2 = 4, l = 2: 1 / (2 sqrt(4 - 2)) = 0.354
    rule, group = AdaptivePGM(), {}
    rule.start(group, 1.0)
    rule.observe(group, Change(length=1.0, twist=2.0, turn=4.0))
    assert rule.size(group) == pytest.approx(1 / (2 * math.sqrt(2)))
    rule.start(group, 1.0)
    rule.observe(group, Change(length=1.0, twist=0.1, turn=0.01))
    assert rule.size(group) == pytest.approx(math.sqrt(2))


def test_the_step_of_barzilai_and_borwein_is_the_inverse_curvature_along_the_move():
    # in units of the step 1/4: length 4 |d|^2, curvature 2 along d: next step 1/2
    rule, group = BarzilaiBorwein(), {}
    rule.start(group, 4.0)
    assert rule.accepts([group], Trial(1.0, 0.0, -2.0, twist=2.0, length=4.0, precision=1e-16, turn=1.0))
    assert rule.size(group) == pytest.approx(0.5)


def test_a_move_that_does_not_lower_the_objective_enough_is_made_again():
    rule, group = BarzilaiBorwein(), {}
    rule.start(group, 1.0)
    assert not rule.accepts([group], Trial(1.0, 2.0, 0.0, twist=2.0, length=1.0, precision=1e-16, turn=4.0))
    assert rule.size(group) == pytest.approx(0.45)


def test_the_gram_rule_knows_the_curvature_of_a_factorization():
    S = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    assert GramLipschitz(lambda: S @ S.T, max_weight=2.0).size({}) == pytest.approx(1 / 18)
    assert GramLipschitz(lambda: 0 * S).size({}) == 0.0
    assert GramLipschitz(lambda: math.nan * S).size({}) == 0.0


def test_exact_products_and_finite_differences_agree_on_a_factorization():
    generator = torch.Generator().manual_seed(0)
    Y, A, S = (torch.rand(shape, generator=generator, dtype=torch.float64) for shape in ((6, 9), (6, 2), (2, 9)))
    ends = []
    for exact in (True, False):
        a, s = A.clone().requires_grad_(), S.clone().requires_grad_()

        def loss(a=a, s=s):
            return 0.5 * (a @ s - Y).square().sum()

        optimizer = PALM([{"params": a}, {"params": s}], NonNegative(), step_rule=TopCurvature(loss if exact else None))
        for _ in range(20):
            optimizer.step(lambda o=optimizer, f=loss: (o.zero_grad(), (value := f()).backward(), value)[-1])
        ends.append(a.detach())
        assert optimizer.gradient_evaluations[0] > 20
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=1e-8)


def test_a_probe_that_leaves_the_domain_of_the_loss_is_made_elsewhere():
    # the optimum of x - ln x is at 1; from 1e-3 the gradient points far outside
    x = torch.tensor([1e-3], dtype=torch.float64, requires_grad=True)
    optimizer = InertialPALM([x], NonNegative())
    for _ in range(200):
        optimizer.step(lambda: (optimizer.zero_grad(), (loss := (x - torch.log(x)).sum()).backward(), loss)[-1])
    assert x.tolist() == pytest.approx([1.0], rel=1e-6)
