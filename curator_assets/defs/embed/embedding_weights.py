"""Which weights images are embedded with."""

from collections.abc import Generator, Iterator
from functools import partial

from curator_assets.defs.embed.single_images import touched
from curator_assets.engine.partitioning import UndecidedError
from curator_assets.engine.work import Purpose, Work
from curator_assets.engine.workers.placing import on_one_device
from curator_assets.engine.workers.task import Supervision
from curator_assets.models.identity import UNDECIDED

WEIGHTS = "weights"
"""The input of that name."""


def weights_in_force(work: Work) -> str:
    """The identity of the embedding model's weights, looked for once until something is made.

    Raises:
        UndecidedError: they are not here yet, and only looking fetches nothing.
    """
    return work.once(weights_in_force, lambda: _weights(work))


def _weights(work: Work) -> str:
    known = work.weights.model()
    if known is None and work.purpose is Purpose.MAKE:
        trial = partial(touched, precision="float32", form="plain")
        *_, known = on_one_device(_loaded_weights, trial, work, ())
        work.weights.loaded(known)
    if known is None:
        raise UndecidedError(UNDECIDED)
    return known


def _loaded_weights(work: Work, _: Iterator[str], __: Supervision) -> Generator[str, None, None]:
    yield work.encoder.load("float32", "plain")[1].weights
