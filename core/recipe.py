"""Which grid each layer gets: a default precision and exceptions by layer name, as a TOML file a person can read."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import InputError, UnsupportedError, unknown
from .precision import Precision
from .remedies import Remedies

_REMEDIES = ("rounding", "equalise", "smooth", "compensate", "bias_correction")
_KEYS = ("precision", "keep_ends", "layers", *_REMEDIES)
_LAYER_KEYS = ("weights", "activations", "float")


@dataclass(frozen=True, kw_only=True)
class LayerRule:
    """The exception made for one layer.

    Attributes:
        weights: Bits of its weights, 2..8, or None for the default.
        activations: Bits of the tensors it reads, 2..8, or None for the default; a tensor with several readers gets
            the widest grid any of them asks for.
        keep_float: Leave the layer out of quantization altogether; then no bits may be given.

    Raises:
        InputError: If a width does not exist, or bits are given to a float layer.
    """

    weights: int | None = None
    activations: int | None = None
    keep_float: bool = False

    def __post_init__(self) -> None:
        for name, bits in (("weights", self.weights), ("activations", self.activations)):
            if bits is not None and not (type(bits) is int and 2 <= bits <= 8):
                raise InputError(f"Expected `{name}` in 2..8, got {bits!r}.")
        if self.keep_float and (self.weights, self.activations) != (None, None):
            raise InputError("Expected either `float = true` or bits for a layer, got both. Remove one.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A default precision and exceptions.

    Attributes:
        precision: The grid of every layer no exception names.
        keep_ends: Whether the first and the last layer with weights stay on 8 bits: their weights, the tensors they
            read, and what follows the last one. It is the convention of the literature on low bits; without it a
            4-bit network sees 16 grey levels and can give only 16 different logits.
        layers: Name of a graph's node to its exception, which goes before ``keep_ends``.
        remedies: What is done so that few bits work.

    Raises:
        InputError: If 4-bit blocks are to have what only grids with one scale per channel have.
        UnsupportedError: If the precision is neither a grid of 2..8 bits with one scale per channel, nor 4-bit weights
            in blocks, nor w8a16, fp8 or fp16.

    Reference:
        Zhou et al. 2016, arXiv 1606.06160, section 2.7 (first and last layer spared); Li et al. 2021, arXiv
        2111.03759 (8 bits there: the setting of MQBench, and so of RobustMQ).
    """

    precision: Precision
    keep_ends: bool = True
    layers: Mapping[str, LayerRule] = field(default_factory=dict)
    remedies: Remedies = field(default_factory=Remedies)

    def __post_init__(self) -> None:
        if self.on_grids and max(self.precision.weights, self.precision.activations) > 8:
            raise UnsupportedError(f"Expected a grid of 2..8 bits such as 'w4a8', got '{self.precision}'.")
        if self.on_grids:
            return
        if self.precision.block is not None and (self.precision.weights != 4 or self.precision.activations == 32):
            raise UnsupportedError(f"Expected blocks of 4-bit weights such as 'w4a16-b32', got '{self.precision}'.")
        _check_without_grids(self)

    @property
    def on_grids(self) -> bool:
        """Whether weights and activations are on grids with one scale per channel, run by int8 kernels."""
        return self.precision.block is None and self.precision.weights != 16 and not self.precision.is_wide

    @property
    def calibrated(self) -> bool:
        """Whether activations have ranges."""
        return self.on_grids or self.precision.is_wide

    @property
    def narrow(self) -> bool:
        """Whether anything is on fewer than 8 bits."""
        rules = [rule for rule in self.layers.values() if not rule.keep_float]
        asked = {bits for rule in rules for bits in (rule.weights, rule.activations)}
        return bool({self.precision.weights, self.precision.activations, *asked} - {8, None})

    def keeping(self, names: Iterable[str]) -> Recipe:
        """Give the recipe with more layers in float, whatever it says of them."""
        return replace(self, layers={**self.layers, **{name: LayerRule(keep_float=True) for name in names}})

    @property
    def float_layers(self) -> tuple[str, ...]:
        """Names of the layers that stay in float."""
        return tuple(name for name, rule in self.layers.items() if rule.keep_float)

    def describe(self) -> str:
        """Say in words what the grid is and where it is not.

        Example:
            >>> Recipe(precision=Precision(weights=4, activations=4)).describe()
            '4-bit weights, 4-bit activations: a 4-bit grid in int8 kernels; first and last layer 8 bits'
        """
        narrow = min(self.precision.weights, self.precision.activations) < 8
        parts = [self.precision.describe()]
        parts += ["first and last layer 8 bits"] if self.keep_ends and narrow and self.on_grids else []
        own = len(self.layers) - len(self.float_layers)
        parts += [f"{layer_count(own)} on other bits"] if own else []
        parts += [f"{layer_count(len(self.float_layers))} in float"] if self.float_layers else []
        return "; ".join(parts)

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe from a TOML file; `parse` says what it may hold.

        Raises:
            InputError: If the file is missing, is no TOML, or breaks a rule; the message names the layer.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"Recipe '{path}' cannot be read: {error}. Check the path.") from error
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Recipe:
        r"""Read a recipe from TOML text.

        Args:
            text: ``precision``, optionally ``keep_ends`` and the settings of `Remedies`, and a table
                ``[layers."NAME"]`` for each exception with ``weights`` and ``activations`` in bits, or
                ``float = true``.

        Returns:
            The recipe.

        Raises:
            InputError: If the text is no TOML, lacks the precision, or breaks a rule; the message names the layer.

        Example:
            >>> text = 'precision = "w4a4"\n[layers."/head/Gemm"]\nfloat = true'
            >>> Recipe.parse(text).float_layers
            ('/head/Gemm',)
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"The recipe is not readable as TOML: {error}.") from error
        _check_keys("recipe key", document, _KEYS)
        precision, keep_ends, layers = (
            document.get("precision"),
            document.get("keep_ends", True),
            document.get("layers"),
        )
        if not isinstance(precision, str):
            raise InputError('The recipe names no precision. Start it with a line such as `precision = "w4a8"`.')
        if not isinstance(keep_ends, bool) or not isinstance(layers or {}, dict):
            raise InputError('Expected `keep_ends` to be true or false and `layers` to be tables, `[layers."NAME"]`.')
        rules = {name: _rule(name, entry) for name, entry in (layers or {}).items()}
        remedies = Remedies(**{key: document[key] for key in _REMEDIES if key in document})
        return cls(precision=Precision.parse(precision), keep_ends=keep_ends, layers=rules, remedies=remedies)


def _check_without_grids(recipe: Recipe) -> None:
    """Refuse, for weights in blocks and for fp16, what needs a grid per channel."""
    asked = recipe.remedies
    grids = asked.equalise or asked.smooth is not None or asked.compensate or asked.bias_correction
    known = ("nearest", "mse") if recipe.precision.block else ("nearest",)
    if grids or (asked.rounding or "nearest") not in known:
        raise InputError(
            f"Precision '{recipe.precision}' knows rounding {' and '.join(known)} and no other remedy: there is no "
            "activation grid to make up for. Leave the others out."
        )
    for name, rule in recipe.layers.items():
        if not rule.keep_float:
            raise InputError(f"Layer '{name}': with precision '{recipe.precision}' a layer can only be `float = true`.")


def _rule(name: str, entry: Any) -> LayerRule:
    if not isinstance(entry, dict):
        raise InputError(f"Expected a table for layer '{name}', got {entry!r}. Write [layers.\"{name}\"].")
    _check_keys(f"setting of layer '{name}':", entry, _LAYER_KEYS)
    keep_float = entry.get("float", False)
    if not isinstance(keep_float, bool):
        raise InputError(f"Expected `float` of layer '{name}' to be true or false, got {keep_float!r}.")
    try:
        return LayerRule(weights=entry.get("weights"), activations=entry.get("activations"), keep_float=keep_float)
    except InputError as error:
        raise InputError(f"Layer '{name}': {error}") from error


def layer_count(count: int) -> str:
    """Write a number of layers as a person would say it."""
    return "1 layer" if count == 1 else f"{count} layers"


def _check_keys(kind: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise unknown(kind, key, known)
