"""The networks that `vidlabel train` knows: what each costs, and what was published of the system
that it comes from, on what terms.

Plain data, read without torch; tests measure what can be measured.
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
    """The data set that it was published on."""
    published: str
    """Top-1 accuracy, as published."""
    protocol: str
    """What the figure is of."""
    reproduce: tuple[str, ...]
    """Commands that repeat the published protocol, and for a figure to believe."""


SYSTEMS: dict[str, System] = {
    "cnn-birnn": System(
        parameters=1_771_867,
        classes=51,
        gflops=0.474,
        data="HMDB51",
        published="88.4 % (a variant: 92.6 %)",
        protocol="trained on split 1, epoch chosen on split 2's and tested on split 3's test "
        "clips, of which 1150 of 1530 had been trained on",
        reproduce=(
            "vidlabel train hmdb51:./hmdb51 --recipe original --protocol leaky-123 "
            "--out runs/leaky",
            "vidlabel train hmdb51:./hmdb51 --split all --out runs/hmdb51",
        ),
    ),
    "conv-lstm": System(
        parameters=73_999_014,
        classes=101,
        gflops=117.831,
        data="UCF-101",
        published="91.3 %",
        protocol="a random fifth of all clips, most with siblings from the same video in training; "
        "measured before it had attention and a second direction",
        reproduce=(
            "vidlabel train ucf101:./ucf101 --model conv-lstm --recipe original "
            "--protocol random-80-20 --out runs/leaky-ucf",
            "vidlabel train ucf101:./ucf101 --model conv-lstm --split all --out runs/ucf101",
        ),
    ),
    "spatial": System(
        parameters=23_612_531,
        classes=51,
        gflops=69.491,
        data="HMDB51",
        published="39.0 %; whole video 45.0 %",
        protocol="split 1, epoch chosen on its test clips; 17 frames a video, each counted by "
        "itself; whole video: 200 test clips at random",
        reproduce=(
            "vidlabel train hmdb51:./hmdb51 --model spatial --recipe original "
            "--protocol split1-select-on-test --out runs/spatial",
            "vidlabel eval hmdb51:./hmdb51 --model runs/spatial --strategy whole-video",
        ),
    ),
    "temporal": System(
        parameters=60_142_035,
        classes=51,
        gflops=2.775,
        data="HMDB51",
        published="25.8 %; whole video not measured",
        protocol="split 1, epoch chosen on its test clips; 1408 of these, drawn at random, some "
        "more than once",
        reproduce=(
            "vidlabel train hmdb51:./hmdb51 --model temporal --recipe original "
            "--protocol split1-select-on-test --out runs/temporal",
            "vidlabel eval hmdb51:./hmdb51 --model runs/temporal --strategy whole-video",
        ),
    ),
    "two-stream": System(
        parameters=83_754_566,
        classes=51,
        gflops=27.452,
        data="HMDB51",
        published="38.2 %; whole video not measured",
        protocol="split 1, epochs chosen on its test clips; one frame and stack of each of the "
        "first 1408 of 1530 test clips: none of throw, turn, walk and wave",
        reproduce=(
            "vidlabel fuse runs/spatial/best.safetensors runs/temporal/best.safetensors "
            "--out runs/fused.safetensors",
            "vidlabel eval hmdb51:./hmdb51 --model runs/fused.safetensors "
            "--protocol split1-select-on-test --strategy one-frame",
            "vidlabel train hmdb51:./hmdb51 --model two-stream --split all --out runs/two-stream",
        ),
    ),
}
"""By network. `video-net` comes from no such system: see `models.kinetics`."""
