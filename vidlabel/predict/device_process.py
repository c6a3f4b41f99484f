"""A process that labels videos on one device: the program that `device_group.DeviceGroup` runs.

It asks for a video whenever its decoders have room for one, so that a fast device gets more of them
than a slow one, and sends each row as soon as it is ready.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from vidlabel.decode.worker import end_with
from vidlabel.errors import VidlabelError
from vidlabel.predict.spec import ModelChoice
from vidlabel.signals import stop_asked
from vidlabel.specs import VideoItem


def main() -> None:
    """Serve on the inherited file descriptor named on the command line."""
    channel, parent = (int(text) for text in sys.argv[1:3])
    end_with(parent)
    # The parent ends a process by closing its connection, or by ending itself.
    with Connection(channel) as connection, suppress(EOFError, ConnectionError):
        try:
            _serve(connection)
        except (EOFError, ConnectionError):
            raise
        except VidlabelError as error:
            connection.send(("error", error))
        except Exception as error:  # noqa: BLE001  (the parent says it, and the others go on)
            connection.send(("error", RuntimeError(f"{type(error).__name__}: {error}")))


def _serve(connection: Connection) -> None:
    choice: ModelChoice = connection.recv()
    from vidlabel.predict.labeller import load_labeller  # torch takes seconds to import

    labeller = load_labeller(**vars(choice))
    connection.send(("ready", labeller.precision))
    spec: Any = connection.recv()
    with stop_asked() as stop:
        for index, row, _ in labeller.predict_views(_asked(connection), spec, stop=stop):
            connection.send(("row", (index, row)))
        connection.send(("end", labeller.warnings()))


def _asked(connection: Connection) -> Iterator[VideoItem]:
    """Videos, each asked for when it is needed; the parent answers at once."""
    while True:
        connection.send(("next", None))
        if (item := connection.recv()) is None:
            return
        yield item


if __name__ == "__main__":
    main()
