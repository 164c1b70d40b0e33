"""Being asked to stop: by SIGTERM, as a cluster does, or by Ctrl-C."""

import signal
from types import FrameType

import torch
from accelerate import Accelerator


class StopRequest:
    """
    While entered, SIGTERM and the first SIGINT only raise a flag, for the loop to look at between steps. A second
    SIGINT interrupts at once, as ever.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def is_made(self, accelerator: Accelerator) -> bool:
        """Whether any rank was asked: all ranks must stop after the same step."""
        if accelerator.num_processes == 1:
            return self.signal is not None
        asked = torch.tensor([float(self.signal is not None)], device=accelerator.device)
        return accelerator.reduce(asked, "sum").item() > 0


def ignore_signals(worker: int) -> None:
    """
    For data workers: they end with their parent. A cluster, and Ctrl-C, ask every process of a job to stop, and a
    parent whose workers are gone cannot finish its step.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
