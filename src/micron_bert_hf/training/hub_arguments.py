"""Where a finished model is published: options that the recipes of pretraining and of a classifier share."""

import os
from dataclasses import dataclass

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env

from ..publishing import publish_model
from ..publishing.push import check_repo_id, make_repository


@dataclass(frozen=True)
class HubArguments:
    """
    Whether a finished model goes to the Hub.

    Args:
        push_to_hub (`str`, *optional*): `USER/NAME`, made if it does not exist: the model is published there at the
            end, see [`~micron_bert_hf.publishing.publish_model`].
        private (`bool`): the repository is to be private.
        license (`str`, *optional*): of the weights, as the Hub names licences.
    """

    push_to_hub: str | None = None
    private: bool = False
    license: str | None = None

    def __post_init__(self):
        if self.push_to_hub is not None:
            check_repo_id(self.push_to_hub)
        elif self.private or self.license is not None:
            raise ValueError("`private` and `license` are of what `push_to_hub` publishes; it is missing.")

    def check(self) -> None:
        """
        Before the work: make the repository, so that whoever may not push finds out now. Every rank calls it, and all
        raise.

        Raises:
            OSError: the Hub refused, or could not be reached.
        """
        if self.push_to_hub is None:
            return
        state = _state()
        # a rank that waits for one that has given up would wait for ever
        problem: list[str | None] = [None]
        if state.is_main_process:
            try:
                make_repository(self.push_to_hub, private=self.private)
            except OSError as error:
                problem = [" ".join(str(error).split())]
        broadcast_object_list(problem)
        if problem[0] is not None:
            # together: a rank whose neighbour ends with the group still open may be aborted on its way out
            state.wait_for_everyone()
            state.destroy_process_group()
            raise OSError(problem[0])

    def publish(self, folder: str | os.PathLike) -> None:
        """
        At the end of a run, also of one that was finished before: publish the model and print what came of it. Every
        rank calls it; the main one works, which may take minutes, and none waits for it.

        Raises:
            Exceptions of [`~micron_bert_hf.publishing.publish_model`].
        """
        if self.push_to_hub is not None and _state().is_main_process:
            print(publish_model(folder, self.push_to_hub, private=self.private, license=self.license))


def _state() -> PartialState:
    """Which rank this is; on CPUs found as `Accelerator` finds it, which then goes on with what it finds here."""
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
