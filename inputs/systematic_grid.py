"""RobustMQ's systematic noise as pipelines: every decoder with every resize, on a model trained with one of them."""

from __future__ import annotations

from collections.abc import Mapping

from .pipeline import Pipeline

GRID_DECODERS = ("pillow", "opencv", "ffmpeg")
GRID_RESIZES = (
    *(f"pillow-{kernel}" for kernel in ("bilinear", "nearest", "box", "hamming", "bicubic", "lanczos")),
    *(f"opencv-{kernel}" for kernel in ("nearest", "linear", "area", "cubic", "lanczos")),
)


def _cell(decoder: str, resize: str) -> Pipeline:
    return Pipeline(
        name=f"robustmq:{decoder}/{resize}",
        decoder=decoder,
        colour="rgb",
        resize=resize,
        geometry="squash",  # the original passes (256, 256), so its baseline does not keep the aspect ratio either
        crop_fraction=0.875,
        size=(224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


ROBUSTMQ_GRID: Mapping[str, Pipeline] = {
    pipeline.name: pipeline
    for pipeline in (_cell(decoder, resize) for decoder in GRID_DECODERS for resize in GRID_RESIZES)
}
"""Name, such as ``robustmq:pillow/opencv-area``, to pipeline: resized to 256 x 256, the centre 224 x 224 kept.

Reference:
    RobustMQ (Xiao et al. 2023, arXiv 2308.02350) sec. 3, after RobustART's ImageNet-S (Tang et al. 2021, arXiv
    2109.05211) sec. 3.3. Its ``ffmpeg`` was the program, one process a file; ours is the same library in this process.
"""
