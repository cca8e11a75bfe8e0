import pytest
import torch

from vermilion.errors import ParameterError, ShapeError
from vermilion.likelihood import Gaussian
from vermilion.models import Factorization
from vermilion.prox import NonNegative, Simplex


def test_the_model_is_the_matrix_product_and_a_torch_module():
    A, S = torch.tensor([[1.0, 0.0], [2.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    model = Factorization(A, S)
    assert model().tolist() == [[1.0, 2.0, 3.0], [2.0, 5.0, 6.0]]
    assert [name for name, _ in model.named_parameters()] == ["A", "S"]


def test_the_start_is_copied():
    A = torch.ones(2, 1)
    model = Factorization(A, torch.ones(1, 2))
    with torch.no_grad():
        model.A.zero_()
    assert A.tolist() == [[1.0], [1.0]]


def test_random_factors_are_drawn_spectra_first_and_follow_the_generator():
    model = Factorization.random(4, 5, 2, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(model.A, torch.rand(4, 2, generator=generator))
    assert torch.equal(model.S, torch.rand(2, 5, generator=generator))
    assert Factorization.random(4, 5, 2, dtype=torch.float64).A.dtype == torch.float64


@pytest.mark.parametrize("name", ["A", "S"])
def test_the_proposed_step_is_one_over_the_curvature_of_its_factor(name):
    generator = torch.Generator().manual_seed(4)
    model = Factorization.random(3, 4, 2, generator, dtype=torch.float64)
    Y, W = torch.rand(3, 4, generator=generator, dtype=torch.float64), torch.full((3, 4), 2.5, dtype=torch.float64)
    A, S = model.components()

    def loss(x):
        return Gaussian()(x @ S if name == "A" else A @ x, Y, W)

    x = getattr(model, name).detach()
    hessian = torch.autograd.functional.hessian(loss, x).reshape(x.numel(), x.numel())
    block = next(block for block in model.blocks(max_weight=2.5) if block["name"] == name)
    assert block["step_rule"]() == pytest.approx(1 / float(torch.linalg.eigvalsh(hessian)[-1]))


def test_the_blocks_name_parameters_and_operators():
    model = Factorization.random(3, 4, 2)
    blocks = model.blocks(spectra=Simplex(0), morphologies=torch.relu)
    assert [block["params"] for block in blocks] == [[model.A], [model.S]]
    assert [type(block["prox"]) for block in blocks] == [Simplex, NonNegative]


def test_a_vanished_factor_asks_for_no_step():
    model = Factorization(torch.zeros(2, 1), torch.zeros(1, 2))
    assert [block["step_rule"]() for block in model.blocks()] == [0.0, 0.0]


@pytest.mark.parametrize(("a", "s"), [((3, 2), (3, 4)), ((3,), (3, 4)), ((3, 2, 1), (1, 4))])
def test_factors_that_do_not_fit_are_refused(a, s):
    with pytest.raises(ShapeError, match=r"expected \(B, K\) and \(K, N\)"):
        Factorization(torch.zeros(a), torch.zeros(s))


def test_factors_of_other_types_are_refused():
    with pytest.raises(ParameterError, match="expected one floating type"):
        Factorization(torch.zeros(3, 2), torch.zeros(2, 4, dtype=torch.float64))
    with pytest.raises(ParameterError, match="expected one floating type"):
        Factorization(torch.zeros(3, 2, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ParameterError, match="at least 1 band"):
        Factorization.random(3, 4, 0)
