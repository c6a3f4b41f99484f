"""A video's frames with their optical flow beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vidlabel.clips.tvl1 import optical_flow
from vidlabel.device import device_errors
from vidlabel.render.flow_colours import Flow, FlowView, bound_of
from vidlabel.render.layout import side_by_side
from vidlabel.render.spec import RenderSpec
from vidlabel.video.scale import Pixels

PAIRS_AT_ONCE = 16
"""Pairs of frames whose flow is computed together: enough to use a GPU, in little memory."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue (ITU-R BT.601), with which OpenCV makes grey images for flow."""


class FlowPanel:
    """Draws each frame beside the flow from it to the next.

    Args:
        pairs: pairs of frames that represent the video; they set the scale unless `spec` does.
        spec: how flow is drawn.
        device: where flow is computed.

    Attributes:
        sample: the pictures of the pairs.
    """

    def __init__(
        self, pairs: Sequence[tuple[Pixels, Pixels]], spec: RenderSpec, device: torch.device
    ) -> None:
        assert spec.flow is not None  # the caller checks
        self._device = device
        flows = [self._flows(pair)[0] for pair in pairs]
        height, width = flows[0].shape[1:]
        self._view = FlowView(spec.flow, spec.max_flow_px or bound_of(flows), height, width)
        frames = (before for before, _ in pairs)
        self.sample = [self._picture(*each) for each in zip(frames, flows, strict=True)]

    def pictures(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """A picture for each frame; the last one shows the flow of the one before."""
        waiting: list[Pixels] = []
        flow: Flow | None = None
        for frame in frames:
            waiting.append(frame)
            if len(waiting) > PAIRS_AT_ONCE:
                for flow, shown in self._with_flow(waiting):
                    yield self._picture(shown, flow)
                waiting = waiting[-1:]
        if len(waiting) > 1:
            for flow, shown in self._with_flow(waiting):
                yield self._picture(shown, flow)
        if waiting:
            still = np.zeros((2, *waiting[-1].shape[:2]), dtype=np.float32)
            yield self._picture(waiting[-1], still if flow is None else flow)

    def _with_flow(self, frames: Sequence[Pixels]) -> Iterator[tuple[Flow, Pixels]]:
        return zip(self._flows(frames), frames, strict=False)

    def _flows(self, frames: Sequence[Pixels]) -> NDArray[np.float32]:
        """Flow (N - 1, 2, H, W) between N consecutive frames."""
        luma = torch.from_numpy(np.stack([frame @ LUMA for frame in frames]))
        with device_errors(self._device):
            luma = luma.to(self._device)
            return optical_flow(luma[:-1], luma[1:]).cpu().numpy()

    def _picture(self, frame: Pixels, flow: Flow) -> Pixels:
        return side_by_side([frame, *self._view.panels(flow)])
