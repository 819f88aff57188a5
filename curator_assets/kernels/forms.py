"""The forms in which a tower runs on CPU: as it was written, or as a graph rewritten for speed.

A form changes how sums are rounded, so it is part of an embedding's arithmetic as its precision is.
The rewriting is what torch's own compiler does with frozen weights, without its C++ compiler.

Legend: *N images, S pixels a side*.
"""

from __future__ import annotations

import copy
from operator import attrgetter
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torch.nn.utils.fusion import fuse_conv_bn_weights

PLAIN, FOLDED, ONEDNN = "plain", "folded", "onednn"
FORMS = (PLAIN, FOLDED, ONEDNN)
"""A tower as it was written; with batch norms folded into the convolutions before them; folded, and
its convolutions and linear layers in oneDNN, weights in oneDNN's own order, activations fused.

In each, with passes of one shape on one thread, an embedding is the same bits wherever its image
lies in the batch, in every run and process on one processor. oneDNN and MKL choose kernels by what
the processor can do, so on another one the same form agrees to rounding, not bit for bit."""

_ATEN, _MKLDNN = torch.ops.aten, torch.ops.mkldnn
_ACTIVATIONS: dict[Any, str] = {
    _ATEN.relu.default: "relu",
    _ATEN.relu_.default: "relu",
    _ATEN.hardtanh.default: "hardtanh",
    _ATEN.hardtanh_.default: "hardtanh",
    _ATEN.silu.default: "swish",
    _ATEN.silu_.default: "swish",
    _ATEN.gelu.default: "gelu",
}
"""Those that oneDNN applies while the output is in cache, by its name for them."""


def is_form_supported(form: str, dtype: torch.dtype) -> bool:
    """Whether this processor and this torch can run a form."""
    if form != ONEDNN:
        return True
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16:
        return bool(_MKLDNN._is_mkldnn_bf16_supported())
    return dtype == torch.float32 or bool(_MKLDNN._is_mkldnn_fp16_supported())


def in_form(
    visual: torch.nn.Module, form: str, dtype: torch.dtype, example: torch.Tensor
) -> torch.nn.Module:
    """A tower in a form and a dtype.

    Args:
        visual: the tower as it was written, float32, in evaluation mode; cast in place if `PLAIN`.
        form: one of `FORMS`.
        dtype: to compute in.
        example: [N, 3, S, S], a batch as it will be given, in its memory format.
    """
    if form == PLAIN:
        return visual.to(dtype)
    example = example.to(dtype)
    cast = visual if dtype == torch.float32 else copy.deepcopy(visual).to(dtype)
    shapes = ({0: torch.export.Dim.AUTO},)
    with torch.no_grad():
        exported = torch.export.export(cast, (example,), dynamic_shapes=shapes, strict=False)
        tower = exported.module(check_guards=False)
        _fold_batch_norms(tower, visual)
        if form == ONEDNN:
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                FakeTensorProp(tower, mode).propagate(example)
            _give_to_onednn(tower)
    tower.graph.eliminate_dead_code()
    return GraphModule(tower, tower.graph)  # without the weights that were rewritten


def _fold_batch_norms(tower: GraphModule, visual: torch.nn.Module) -> None:
    """Folded in float32, from the tower's first weights, whatever it computes in."""

    def weight(node: Node | None) -> Any:
        return None if node is None else attrgetter(str(node.target))(visual)

    nodes = tower.graph.find_nodes(op="call_function", target=_ATEN.batch_norm.default)
    for number, norm in enumerate(nodes):
        of_norm, conv = _arguments(norm), norm.args[0]
        if conv.target != _ATEN.conv2d.default or len(conv.users) > 1:
            continue
        of_conv = _arguments(conv)
        names = ("running_mean", "running_var", "eps", "weight", "bias")
        mean, variance, eps, scale, shift = (of_norm[name] for name in names)
        folded = fuse_conv_bn_weights(
            weight(of_conv["weight"]),
            weight(of_conv["bias"]),
            weight(mean),
            weight(variance),
            eps,
            weight(scale),
            weight(shift),
        )
        old = attrgetter(conv.args[1].target)(tower)
        of_conv |= {
            name: _add_weight(tower, f"folded_{number}_{name}", value.to(old.dtype), conv)
            for name, value in zip(("weight", "bias"), folded, strict=True)
        }
        conv.args = tuple(of_conv.values())
        norm.replace_all_uses_with(conv)
        tower.graph.erase_node(norm)


def _give_to_onednn(tower: GraphModule) -> None:
    """Convolutions and linear layers of constant weights, with the activations after them."""
    for number, node in enumerate(list(tower.graph.nodes)):
        if node.target not in (_ATEN.linear.default, _ATEN.conv2d.default):
            continue
        given = _arguments(node)
        source, weight = given["input"], given["weight"]
        if weight.op != "get_attr":
            continue
        shape, weight = source.meta["val"].shape, attrgetter(weight.target)(tower).detach()
        if node.target == _ATEN.linear.default:
            options: tuple[Any, ...] = ()
            product = _MKLDNN._linear_pointwise.default
            packed = _MKLDNN._reorder_linear_weight(weight, shape[:-1].numel())
        else:
            options = tuple(given[name] for name in ("padding", "stride", "dilation", "groups"))
            product = _MKLDNN._convolution_pointwise.default
            packed = _MKLDNN._reorder_convolution_weight(weight, *options, list(shape))
        last, activation = _activation_after(node)
        name = f"packed_{number}"
        weight = _add_weight(tower, name, packed, node)
        with tower.graph.inserting_before(node):
            operands = (source, weight, given["bias"])
            fused = tower.graph.call_function(product, (*operands, *options, *activation))
        fused.meta = dict(last.meta)
        last.replace_all_uses_with(fused)
        for replaced in dict.fromkeys((last, node)):
            tower.graph.erase_node(replaced)


def _activation_after(node: Node) -> tuple[Node, tuple[str, list[float], str]]:
    """The last node of a product with its activation, and what oneDNN calls that."""
    user = next(iter(node.users), None)
    name = _ACTIVATIONS.get(user.target) if user and len(node.users) == 1 else None
    if user is None or name is None:
        return node, ("none", [], "")
    given = _arguments(user)
    bounds = [float(given["min_val"]), float(given["max_val"])] if name == "hardtanh" else []
    return user, (name, bounds, given.get("approximate", ""))


def _arguments(node: Node) -> dict[str, Any]:
    """The arguments of a call by name, as its schema orders them, with its defaults."""
    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip((a.name for a in arguments), node.args, strict=False)) | node.kwargs
    return {
        a.name: given.get(a.name, a.default_value if a.has_default_value() else None)
        for a in arguments
    }


def _add_weight(tower: GraphModule, name: str, value: torch.Tensor, before: Node) -> Node:
    tower.register_buffer(name, value.detach(), persistent=False)
    with tower.graph.inserting_before(before):
        return tower.graph.get_attr(name)
