"""A cached value equals one that is computed anew: modes, checkpointing, changes, transformations, threads."""

import copy
import threading
from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from stripe import asr
from stripe.attention import SE


class Block(nn.Module):
    """Normalisation of a linear layer, with no state that a second pass would change."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.norm(self.fc(x)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.through: Callable[[nn.Module, Tensor], Tensor] = lambda block, x: block(x)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = self.through(block, x)
        return x


def wide(channels: int) -> SE:
    return SE(channels, reduction=1)


def make(attention: str | Callable[[int], nn.Module] = wide, *, shared: bool = False) -> Net:
    torch.manual_seed(0)
    model = Net().double()
    # In one group, a value goes through several checkpointed segments.
    where = [tuple(f"blocks.{i}.norm" for i in range(3))] if shared else "blocks.*.norm"
    asr.reparameterize(model, where, attention)
    return model


def images() -> Tensor:
    return torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def plain(attention: str | Callable[[int], nn.Module] = wide, *, shared: bool = False) -> dict[str, Tensor | None]:
    """Gradients without `cached` and without checkpointing."""
    model = make(attention, shared=shared)
    model(images()).square().sum().backward()
    return gradients(model)


def assert_same(found: dict[str, Tensor | None], expected: dict[str, Tensor | None]) -> None:
    assert any(".asr.psi" in name for name in found)
    for name, gradient in expected.items():
        assert gradient is not None, name
        assert found[name] is not None, name
        torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-14)


def non_reentrant(block: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(block, x, use_reentrant=False)


def to_the_end(block: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(block, x, use_reentrant=False, early_stop=False)


def reentrant(block: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(block, x, use_reentrant=True)


def nested(block: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(lambda y: non_reentrant(block, y), x, use_reentrant=False)


def nested_reentrant(block: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(lambda y: reentrant(block, y), x, use_reentrant=True)


def selective(block: nn.Module, x: Tensor) -> Tensor:
    kept = [torch.ops.aten.addmm.default]
    contexts = lambda: create_selective_checkpoint_contexts(kept)  # noqa: E731
    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


HOW = [non_reentrant, to_the_end, reentrant, nested, nested_reentrant, selective]


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("attention", [wide, "dia"], ids=["se", "dia"])
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
def test_gradient_checkpointing(how, inside: bool, attention, shared: bool) -> None:
    model = make(attention, shared=shared)
    model.through = how
    with asr.cached():
        loss = model(images()).square().sum()
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    assert_same(gradients(model), plain(attention, shared=shared))


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
def test_backward_in_another_thread(how) -> None:
    """As for a GPU, where autograd has a thread of its own."""
    model = make()
    model.through = how
    with asr.cached():
        thread = threading.Thread(target=model(images()).square().sum().backward)
        thread.start()
        thread.join()
    assert_same(gradients(model), plain())


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
def test_backward_in_another_context(how) -> None:
    model = make()
    model.through = how
    loss = model(images()).square().sum()
    with asr.cached():
        asr.values(model)
        loss.backward()
    assert_same(gradients(model), plain())


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
def test_a_network_of_timm_that_checkpoints(inside: bool) -> None:
    def trained(checkpointing: bool) -> dict[str, Tensor | None]:
        torch.manual_seed(0)
        model = timm.create_model("resnet18", num_classes=3).double()
        model.set_grad_checkpointing(checkpointing)
        asr.reparameterize(model)
        x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
        if not checkpointing:
            model(x).square().sum().backward()
            return gradients(model)
        with asr.cached():
            loss = model(x).square().sum()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        return gradients(model)

    found, expected = trained(True), trained(False)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_pass_without_gradients_first(mode) -> None:
    model = make()
    with asr.cached():
        with mode():
            model(images())
        loss = model(images()).square().sum()
        with mode():
            model(images())
        loss.backward()
    assert_same(gradients(model), plain())


def test_backward_twice() -> None:
    model = make()
    with asr.cached():
        for _ in range(2):  # batches whose gradients are accumulated
            model(images()).square().sum().backward()
    assert_same(gradients(model), {name: 2 * gradient for name, gradient in plain().items()})


def test_an_exception_in_a_pass_leaves_nothing_behind() -> None:
    model = make()
    with pytest.raises(RuntimeError), asr.cached(), asr.cached(), torch.no_grad():
        model(torch.cat([images(), images()[:, :1]], 1))
    with asr.cached():
        loss = model(images()).square().sum()
    loss.backward()
    assert_same(gradients(model), plain())


def step(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    model(images()).square().sum().backward()
    optimizer.step()


def replaced(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data + 1


def loaded(model: nn.Module) -> None:
    model.load_state_dict({name: tensor + 1 for name, tensor in model.state_dict().items()})


def another_psi(model: nn.Module) -> None:
    part = model.blocks[0].norm.parametrizations.weight[0].asr
    part.psi = nn.Parameter(part.psi.detach() + 1)


@pytest.mark.parametrize(
    "change", [step, replaced, loaded, another_psi, lambda model: model.float()], ids=lambda c: c.__name__
)
def test_a_change_is_seen(change) -> None:
    model = make()
    with asr.cached():
        before = asr.values(model)["blocks.0.norm"]
        change(model)
        kept = asr.values(model)
    anew = asr.values(model)
    assert all(torch.equal(kept[name], value) for name, value in anew.items())
    assert kept["blocks.0.norm"].dtype != before.dtype or not torch.equal(kept["blocks.0.norm"], before)


def test_dia_sees_a_change_of_the_one_before() -> None:
    model = make("dia")
    with asr.cached():
        before = asr.values(model)
        with torch.no_grad():
            model.blocks[0].norm.parametrizations.weight[0].asr.psi.add_(1)
        after = asr.values(model)
    assert not torch.equal(before["blocks.2.norm"], after["blocks.2.norm"])


class Dropping(SE):
    def excite(self, squeezed: Tensor) -> Tensor:
        return nn.functional.dropout(super().excite(squeezed), 0.9, self.training)


def test_a_change_of_mode_is_seen() -> None:
    model = make(Dropping)
    with asr.cached():
        assert asr.values(model)["blocks.0.norm"].eq(0).any()
        model.eval()
        assert not asr.values(model)["blocks.0.norm"].eq(0).any()


def test_gradients_by_torch_func() -> None:
    model = make()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (x,)).square().sum()

    with asr.cached():
        model(images())
        found = torch.func.grad(loss)(parameters, images().detach())
        each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, images().detach())
        assert torch.isfinite(model(images())).all()
    assert_same(found, plain())
    assert_same({name: gradient.sum(0) for name, gradient in each.items()}, plain())


def test_parameters_that_are_swapped() -> None:
    model = make()
    zeros = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    x = images()
    expected = model(x), torch.func.functional_call(model, zeros, (x,))
    with asr.cached():
        assert torch.equal(model(x), expected[0])
        assert torch.equal(torch.func.functional_call(model, zeros, (x,)), expected[1])
        assert torch.equal(model(x), expected[0])


def test_forward_mode() -> None:
    model = make()
    name = "blocks.0.norm.parametrizations.weight.0.asr.psi"
    psi = model.get_parameter(name).detach()

    def output(psi: Tensor) -> Tensor:
        return torch.func.functional_call(model, {name: psi}, (images(),))

    with asr.cached():
        model(images())
        _, tangent = torch.func.jvp(output, (psi,), (torch.ones_like(psi),))
    step = 1e-6
    expected = (output(psi + step) - output(psi - step)) / (2 * step)
    torch.testing.assert_close(tangent, expected, rtol=1e-6, atol=1e-9)


def test_each_thread_has_its_own() -> None:
    model = make()
    found: list[int] = []

    def other() -> None:
        asr.values(model)
        found.append(calls)
        with asr.cached():
            asr.values(model)
            asr.values(model)

    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    model.blocks[0].norm.parametrizations.weight[0].asr.attention.fc1.register_forward_hook(count)
    with asr.cached():
        asr.values(model)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        asr.values(model)
    assert (found, calls) == ([2], 3)


def test_copies_made_inside() -> None:
    model = make()
    with asr.cached():
        with torch.no_grad():
            model(images())
        teacher = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in teacher.parameters():
                parameter.zero_()
            assert all(torch.equal(v, torch.full_like(v, 0.5)) for v in asr.values(teacher).values())  # σ(0)
        model(images()).square().sum().backward()
    assert_same(gradients(model), plain())


def test_a_model_made_in_inference_mode() -> None:
    with torch.inference_mode(), asr.cached():
        model = make()
        asr.values(model)
        for parameter in model.parameters():
            parameter.zero_()
        assert all(torch.equal(v, torch.full_like(v, 0.5)) for v in asr.values(model).values())


def test_changes_before_backward_are_still_an_error() -> None:
    model = make()
    with asr.cached():
        loss = model(images()).square().sum()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_values_are_freed_without_the_collector() -> None:
    import gc
    import weakref

    model = make()
    gc.disable()
    try:
        with asr.cached():
            model(images())
            value = weakref.ref(model.blocks[0].norm.parametrizations.weight[0].asr.value())
            assert value() is not None
        assert value() is None
    finally:
        gc.enable()
