"""Where the official archives of a public data set are, and what they unpack to."""

from __future__ import annotations

from dataclasses import dataclass

from vidlabel.datasets.complete import PUBLIC
from vidlabel.datasets.fetch.archives import Budget
from vidlabel.datasets.public import PublicDataset


@dataclass(frozen=True)
class Source:
    """The archives of one data set."""

    data: PublicDataset
    home: str
    """Its web page."""
    splits_urls: tuple[str, ...]
    """Addresses of one archive: that of the lists."""
    clips_urls: tuple[str, ...]
    clips_folder: str
    """The folder of the class folders in the archive, and below ROOT."""
    splits_folder: str
    size_bytes: int
    """Of all clips, roughly."""

    @property
    def budget(self) -> Budget:
        """What the archives may hold; archives in archives count twice."""
        return Budget(entries=5 * self.data.clips, size_bytes=5 * self.size_bytes)


_BROWN = "https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/"
_UCF = "https://www.crcv.ucf.edu/data/UCF101/"
_UCF_NEW = "https://www.crcv.ucf.edu/datasets/human-actions/ucf101/"

SOURCES = {
    "hmdb51": Source(
        data=PUBLIC["hmdb51"],
        home="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
        splits_urls=(_BROWN + "test_train_splits.rar",),
        clips_urls=(_BROWN + "hmdb51_org.rar",),
        clips_folder="hmdb51_org",
        splits_folder="testTrainMulti_7030_splits",
        size_bytes=2_200_000_000,
    ),
    "ucf101": Source(
        data=PUBLIC["ucf101"],
        home="https://www.crcv.ucf.edu/data/UCF101.php",
        splits_urls=(
            _UCF + "UCF101TrainTestSplits-RecognitionTask.zip",
            _UCF_NEW + "UCF101TrainTestSplits-RecognitionTask.zip",
        ),
        clips_urls=(_UCF + "UCF101.rar", _UCF_NEW + "UCF101.rar"),
        clips_folder="UCF-101",
        splits_folder="ucfTrainTestlist",
        size_bytes=7_100_000_000,
    ),
}
"""By the name of the data set."""
