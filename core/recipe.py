"""Which grid each layer gets: a default precision and exceptions by layer name, as a TOML file a person can read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import InputError, UnsupportedError, unknown
from .precision import Precision

_KEYS = ("precision", "keep_ends", "layers")
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

    Raises:
        UnsupportedError: If the precision is no grid of 2..8 bits with one scale per channel.

    Reference:
        Zhou et al. 2016, arXiv 1606.06160, section 2.7 (first and last layer spared); Li et al. 2021, arXiv
        2111.03759 (8 bits there: the setting of MQBench, and so of RobustMQ).
    """

    precision: Precision
    keep_ends: bool = True
    layers: Mapping[str, LayerRule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        widths = (self.precision.weights, self.precision.activations)
        if self.precision.block is not None or not all(2 <= bits <= 8 for bits in widths):
            raise UnsupportedError(f"Expected a grid of 2..8 bits such as 'w4a8', got '{self.precision}'.")

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
        parts += ["first and last layer 8 bits"] if self.keep_ends and narrow else []
        own = len(self.layers) - len(self.float_layers)
        parts += [f"{_layers(own)} on other bits"] if own else []
        parts += [f"{_layers(len(self.float_layers))} in float"] if self.float_layers else []
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
            text: ``precision``, optionally ``keep_ends``, and a table ``[layers."NAME"]`` for each exception with
                ``weights`` and ``activations`` in bits, or ``float = true``.

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
        return cls(precision=Precision.parse(precision), keep_ends=keep_ends, layers=rules)


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


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _check_keys(kind: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise unknown(kind, key, known)
