"""Models of Transformers under the name `hf:`: from a folder to a header and a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from vidlabel.errors import UsageError
from vidlabel.models.base import ClipModel
from vidlabel.models.header import Header
from vidlabel.models.hf_folder import FAMILIES, HF, ZERO_SHOT, HfFolder, check_names
from vidlabel.models.transformer_net import TransformerNet, ZeroShotNet
from vidlabel.specs import ModelSpec
from vidlabel.text import split_names

__all__ = ["HF", "describe_hf", "load_hf"]

ARCH = "transformers"


def describe_hf(name: str, classes: Sequence[str] = ()) -> Header:
    """The header of a model `hf:NAME`, without its weights.

    Args and Raises: as `load_hf`.
    """
    return _header(HfFolder(name), classes)


def load_hf(name: str, classes: Sequence[str] = ()) -> tuple[Header, ClipModel, str]:
    """The header, the network in evaluation mode, and the SHA-256 of a model `hf:NAME`.

    Args:
        name: `hf:` and a folder or the name of a model, which is only looked for in the cache.
        classes: those of a zero-shot model, with commas between several; others ignore them.

    Raises:
        CheckpointError: it is not there, or is not such a model with trained weights.
        UsageError: the package transformers is not installed, or classes are missing.
    """
    folder = HfFolder(name)
    header = _header(folder, classes)
    zero_shot = folder.family == ZERO_SHOT
    digest = folder.digest(header.classes if zero_shot else ())
    with folder.reading():
        model = _model(folder)
        network: ClipModel
        if zero_shot:
            texts = _texts(folder, model, header.classes)
            network = ZeroShotNet(model, texts, folder.pixels, folder.family)
        else:
            network = TransformerNet(model, folder.pixels, folder.family)
    return header, network.eval(), digest


def _header(folder: HfFolder, classes: Sequence[str]) -> Header:
    """The header; the classes of a zero-shot model are sorted, so that their order is no setting.

    Probabilities are those of the model: temperature 1."""
    if folder.family == ZERO_SHOT:
        names = tuple(sorted(split_names(classes)))
        check_names(names, folder.name)
    else:
        names = folder.classes
    try:
        return Header(
            model=ModelSpec(arch=ARCH, classes=len(names), trunk=folder.family, dropout=0.0),
            clip=folder.pixels.clip,
            classes=names,
            training={"weights": f"Transformers, {FAMILIES[folder.family]}"},
        )
    except UsageError as error:
        folder.refuse(str(error), error)


def _model(folder: HfFolder) -> Any:
    """The model with its weights, float32, if the files hold all of them."""
    from transformers import AutoModel, AutoModelForVideoClassification

    auto = AutoModel if folder.family == ZERO_SHOT else AutoModelForVideoClassification
    config = folder.net_config()
    with torch.device("meta"):  # shapes only: a small file can name a huge model
        blank = auto.from_config(config, trust_remote_code=False)
    least = 2 * sum(value.numel() for value in blank.state_dict().values())  # 16 bits each
    if folder.weight_bytes < least:
        folder.refuse(f"its weights have {folder.weight_bytes} bytes, its network needs {least}")
    # Without a path, nothing but these weights is read. Their old names are translated there.
    model, found = type(blank).from_pretrained(
        None, config=config, state_dict=folder.state(), dtype=torch.float32,
        output_loading_info=True,
    )  # fmt: skip
    missing, wrong = sorted(found["missing_keys"]), sorted(map(str, found["mismatched_keys"]))
    if any(key.startswith("classifier.") for key in missing):
        folder.refuse("has no trained classes: it was pretrained, and not yet fine-tuned")
    if missing or wrong:
        folder.refuse(f"the weights do not fit config.json at {(missing or wrong)[0]}")
    return model.eval()


@torch.no_grad()
def _texts(folder: HfFolder, model: Any, classes: Sequence[str]) -> Tensor:
    """The embeddings (K, E) of the names of classes; as in training, a text is a name alone."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        str(folder.path), local_files_only=True, trust_remote_code=False
    )
    texts = [name.replace("_", " ") for name in classes]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    most = model.config.text_config.max_position_embeddings
    if tokens["input_ids"].shape[1] > most:
        longest = max(classes, key=len)
        raise UsageError(f"--classes: '{longest}' is too long: a text has at most {most} tokens")
    seen = model.text_model(**{key: tokens[key] for key in ("input_ids", "attention_mask")})
    return cast(Tensor, model.text_projection(seen[1]))
