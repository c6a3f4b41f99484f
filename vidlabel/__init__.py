"""vidlabel: label folders of videos with what people do in them.

import vidlabel

labeller = vidlabel.load_labeller("starter")
for prediction in labeller.predict(["clips/wave.mp4"]):
    print(prediction.path, prediction.label, prediction.confidence)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vidlabel.errors import VidlabelError
from vidlabel.specs import Limits, Prediction, Status
from vidlabel.version import __version__

if TYPE_CHECKING:
    from vidlabel.predict.labeller import Labeller, load_labeller

__all__ = [
    "Labeller",
    "Limits",
    "Prediction",
    "Status",
    "VidlabelError",
    "__version__",
    "load_labeller",
]


def __getattr__(name: str) -> object:
    # torch takes seconds to import; `--help` and the decoder processes never need it.
    if name in ("Labeller", "load_labeller"):
        return getattr(import_module("vidlabel.predict.labeller"), name)
    raise AttributeError(f"module 'vidlabel' has no attribute {name!r}")
