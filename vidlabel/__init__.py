"""vidlabel: label folders of videos with what people do in them.

import vidlabel

labeller = vidlabel.load_labeller("starter")
for prediction in labeller.predict("clips"):
    print(prediction.path, prediction.label, prediction.confidence)

table = labeller.predict(["a.mp4", "b.mp4"]).to_dataframe()
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from vidlabel.errors import VidlabelError
from vidlabel.files.find import find_videos
from vidlabel.predict.spec import PredictSpec
from vidlabel.results.predictions import Predictions
from vidlabel.results.record import to_dict
from vidlabel.spans import TimelineSpec
from vidlabel.specs import Limits, Prediction, Status, VideoItem
from vidlabel.version import __version__

if _TYPE_CHECKING:
    from vidlabel.predict.labeller import Labeller, load_labeller
    from vidlabel.results.tables import read_labels

__all__ = [
    "Labeller",
    "Limits",
    "PredictSpec",
    "Prediction",
    "Predictions",
    "Status",
    "TimelineSpec",
    "VideoItem",
    "VidlabelError",
    "__version__",
    "find_videos",
    "load_labeller",
    "read_labels",
    "to_dict",
]

# torch and pandas take seconds to import; `--help` and the decoder processes do not need them.
_LAZY = {
    "Labeller": "vidlabel.predict.labeller",
    "load_labeller": "vidlabel.predict.labeller",
    "read_labels": "vidlabel.results.tables",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(_import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'vidlabel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
