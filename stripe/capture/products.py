"""The forms in which code multiplies a map by a gate.

Attention "acts in a multiplicative manner" (Stripe Observation paper, eq. 4: x' = x ⊙ v). That is mostly ``x * v``, but
also ``x / d`` with v = 1/d, ``torch.where(mask, x, 0)``, ``x.masked_fill(mask, 0)``, ``torch.addcmul(y, x, v)``,
``torch.lerp(x, y, v)``, which is x + (y − x) ⊙ v, and ``torch.einsum("nchw,nc->nchw", x, v)``.
"""

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["MULTIPLICATIONS", "Product", "product_of"]

# Names under which torch functions and Tensor methods multiply; operators (``*``, ``*=``) arrive as these, too.
MULTIPLICATIONS = frozenset({"mul", "mul_", "multiply", "multiply_", "__mul__", "__rmul__", "__imul__"})
_DIVISIONS = frozenset(
    {"div", "div_", "divide", "divide_", "true_divide", "true_divide_", "__truediv__", "__itruediv__", "__div__"}
)


@dataclass(frozen=True)
class Product:
    """A multiplication of two tensors.

    Attributes:
        form: ``mul``, ``div``, ``where``, ``masked_fill``, ``lerp`` or ``einsum``.
        operands: The two tensors; of forms other than ``mul`` and ``einsum`` only the second can be the gate.
    """

    form: str
    operands: tuple[Tensor, Tensor]

    @property
    def candidates(self) -> tuple[int, ...]:
        """Indices of the operands that can be the gate."""
        return (0, 1) if self.form in ("mul", "einsum") else (1,)

    def gate(self, operand: int) -> Tensor:
        """The tensor that the map is multiplied by, if the gate is this operand."""
        value = self.operands[operand]
        if self.form == "div":
            return value.reciprocal()
        return ~value if self.form == "masked_fill" else value


def product_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    """Recognise a call of a torch function as a multiplication of two tensors; None if it is not one."""
    name = getattr(func, "__name__", "")
    if name in MULTIPLICATIONS:
        return _pair("mul", _arguments(args, kwargs, "input", "other"))
    if name in _DIVISIONS:
        mode = kwargs.get("rounding_mode")
        return None if mode else _pair("div", _arguments(args, kwargs, "input", "other"))
    rule = _FORMS.get(name.rstrip("_"))
    return rule(args, kwargs) if rule else None


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any], *names: str) -> list[Any]:
    """The arguments by position or name, None for those that are not given."""
    rest = [kwargs.get(name) for name in names[len(args) :]]
    return [*args[: len(names)], *rest]


def _pair(form: str, pair: list[Any]) -> Product | None:
    a, b = pair
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return None
    if a.is_complex() or b.is_complex() or not (a.is_floating_point() or b.is_floating_point()):
        return None
    return Product(form, (a, b))


def _where(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    condition, kept, other = _arguments(args, kwargs, "condition", "input", "other")
    if getattr(condition, "dtype", None) is not torch.bool and isinstance(kept, Tensor) and kept.dtype is torch.bool:
        condition, kept = kept, condition  # Tensor.where(x, condition, other)
    if not isinstance(other, Tensor):
        return _pair("where", [kept, condition]) if other == 0 else None
    if isinstance(kept, Tensor):
        return _pair("where", [kept, condition])
    return _pair("masked_fill", [other, condition]) if kept == 0 else None


def _masked_fill(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    values, mask, value = _arguments(args, kwargs, "input", "mask", "value")
    return _pair("masked_fill", [values, mask]) if not isinstance(value, Tensor) and value == 0 else None


def _addcmul(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    return _pair("mul", _arguments(args, kwargs, "input", "tensor1", "tensor2")[1:])


def _addcdiv(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    return _pair("div", _arguments(args, kwargs, "input", "tensor1", "tensor2")[1:])


def _lerp(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    start, end, weight = _arguments(args, kwargs, "input", "end", "weight")
    if not all(isinstance(value, Tensor) for value in (start, end, weight)):
        return None
    return _pair("lerp", [end - start, weight])


def _einsum(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    """An ``einsum`` such as ``nchw,nc->nchw``: the map has the letters of the result, the gate some of them."""
    equation, *operands = args
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = list(operands[0])
    if not isinstance(equation, str) or len(operands) != 2 or not all(isinstance(o, Tensor) for o in operands):
        return None
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    names = inputs.split(",")
    if "..." in inputs and arrow:
        # Letters for the axes that the dots stand for, from the right as they broadcast.
        dots = [operand.ndim - len(name.replace("...", "")) for name, operand in zip(names, operands, strict=False)]
        spare = "".join(letter for letter in string.ascii_letters if letter not in equation)[: max(dots, default=0)]
        names = [name.replace("...", spare[len(spare) - count :]) for name, count in zip(names, dots, strict=True)]
        result = result.replace("...", spare)
    if not arrow or len(names) != 2 or any(len(set(name)) != len(name) for name in names):
        return None
    for of_map, of_gate in ((0, 1), (1, 0)):
        if sorted(names[of_map]) == sorted(result) and set(names[of_gate]) < set(result):
            gate, letters = operands[of_gate], names[of_gate]
            order = [letters.index(letter) for letter in names[of_map] if letter in letters]
            shape = [gate.shape[letters.index(letter)] if letter in letters else 1 for letter in names[of_map]]
            pair = [operands[of_map], gate.permute(order).reshape(shape)]
            return _pair("einsum", pair if of_map == 0 else pair[::-1])
    return None


_FORMS: dict[str, Callable[[tuple[Any, ...], dict[str, Any]], Product | None]] = {
    "where": _where,
    "masked_fill": _masked_fill,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    "lerp": _lerp,
    "einsum": _einsum,
}
