"""Reimplemented systems: the size of each network, its published accuracy, and how that was
measured.

This is plain data that needs no torch; tests measure what can be measured.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """A network with the settings of `--recipe original`, and its published accuracy."""

    parameters: int
    """With `classes`."""
    classes: int
    gflops: float
    """Multiply-adds of one clip, in billions."""
    data: str
    """The data set of the published accuracy."""
    published: str
    """Top-1 accuracy, as published."""
    protocol: str
    """How the published accuracy was measured."""


SYSTEMS: dict[str, System] = {
    "cnn-birnn": System(
        parameters=1_771_867,
        classes=51,
        gflops=0.474,
        data="HMDB51",
        published="88.4 % (a variant: 92.6 %)",
        protocol="trained on split 1, epoch chosen on split 2's and tested on split 3's test "
        "clips, of which 1150 of 1530 had been trained on",
    ),
    "conv-lstm": System(
        parameters=73_999_014,
        classes=101,
        gflops=117.831,
        data="UCF-101",
        published="91.3 %",
        protocol="a random fifth of all clips, most with siblings from the same video in training; "
        "measured before it had attention and a second direction",
    ),
    "spatial": System(
        parameters=23_612_531,
        classes=51,
        gflops=69.491,
        data="HMDB51",
        published="39.0 %; whole video 45.0 %",
        protocol="split 1, epoch chosen on its test clips; 17 frames a video, each counted by "
        "itself; whole video: 200 test clips at random",
    ),
    "temporal": System(
        parameters=60_142_035,
        classes=51,
        gflops=2.775,
        data="HMDB51",
        published="25.8 %; whole video not measured",
        protocol="split 1, epoch chosen on its test clips; 1408 of these, drawn at random, some "
        "more than once",
    ),
    "two-stream": System(
        parameters=83_754_566,
        classes=51,
        gflops=27.452,
        data="HMDB51",
        published="38.2 %; whole video not measured",
        protocol="split 1, epochs chosen on its test clips; one frame and stack of each of the "
        "first 1408 of 1530 test clips: none of throw, turn, walk and wave",
    ),
}
"""By network. For `video-net`, which is no such system, see `models.kinetics`."""
