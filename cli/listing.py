"""`list`: what can be named on the command line, with one line for each."""

from __future__ import annotations

import argparse

from .. import assets
from ..calib.catalog import METHODS
from ..engines.catalog import BACKENDS
from ..evaluate.attacks.catalog import ATTACKS, LearnedEntry, TransferEntry
from ..evaluate.attacks.query_catalog import QueryEntry
from ..evaluate.corruptions.catalog import CORRUPTIONS
from ..evaluate.score_access import SCORE_ACCESS
from ..evaluate.suites import SUITES, suite
from ..export.profiles import PROFILES
from ..inputs.camera import CAMERAS, Camera
from ..inputs.catalog import PRESETS
from ..inputs.decode import DECODERS
from ..inputs.pipeline import Pipeline
from ..inputs.resize import RESIZERS
from .options import Subparsers, add_common, print_json, table


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "list", help="attacks, corruptions, presets, suites, calibrators", description=__doc__
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    entries = _entries()
    if options.json:
        print_json({kind: [{"name": name, "about": about} for name, about in rows] for kind, rows in entries.items()})
    else:
        rows = [[kind, name, about] for kind, found in entries.items() for name, about in found]
        print(table(["kind", "name", "about"], rows))
    return 0


def _entries() -> dict[str, list[tuple[str, str]]]:
    return {
        "attack": [(name, f"{entry.about}; {_settings(entry)}") for name, entry in ATTACKS.items()],
        "corruption": [(name, "severity 1..5") for name in CORRUPTIONS],
        "preset": [(preset.name, _preset(preset)) for preset in PRESETS.values()],
        "decoder": [(name, decoder.about) for name, decoder in DECODERS.items()],
        "camera": [(name, _camera(camera)) for name, camera in CAMERAS.items()],
        "resizer": [(name, _emulated(resizer.emulates)) for name, resizer in RESIZERS.items()],
        "suite": [(name, f"{len(suite(name))} conditions") for name in SUITES],
        "calibrator": [(name, _first_line(method.choose.__doc__)) for name, method in METHODS.items()],
        "profile": [(name, profile.summary) for name, profile in PROFILES.items()],
        "embedded model": list(assets.MODELS.items()),
        "backend": [(backend.name, ", ".join(backend.suffixes)) for backend in BACKENDS],
        "score access": [(name, "") for name in SCORE_ACCESS],
    }


def _settings(entry: QueryEntry | TransferEntry | LearnedEntry) -> str:
    """Write an attack's settings as they are asked for, each number with its default, each word with its choices."""
    words = entry.words if isinstance(entry, QueryEntry) else {}
    listed = [f"{key}={value}" for key, value in entry.defaults.items()]
    return ",".join([*listed, *(f"{key}={'|'.join(choices)}" for key, choices in words.items())])


def _preset(preset: Pipeline) -> str:
    about = f"{preset.decoder}, {preset.resize}, {preset.geometry}, mean {preset.mean}"
    return f"{about}, {_emulated(preset.emulates)}" if preset.emulates else about


def _camera(camera: Camera) -> str:
    chroma = "interpolated" if camera.interpolated else "repeated"
    written, read = f"{camera.matrix} {camera.range}", f"{camera.read_matrix} {camera.read_range}"
    return f"YUV 4:2:0, {written}, chroma {chroma}" + (f", read as {read}" if read != written else "")


def _emulated(emulates: str) -> str:
    return f"emulated: {emulates}" if emulates else "the library itself"


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
