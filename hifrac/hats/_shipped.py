"""An estimator on its way to other processes: names and parameters, of which each process makes it once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from hifrac.core.config import conf, temporary_settings
from hifrac.core.exceptions import ModelError, without_warnings
from hifrac.hats._partition import predict_partition
from hifrac.models import load_model
from hifrac.models.registry import bundled_models

if TYPE_CHECKING:
    import pandas as pd

    from hifrac._picture_estimator import PictureEstimator
    from hifrac.cutouts import CutoutSource
    from hifrac.models import Model

#: The estimator of this process for the catalogue at work, by the token of what was sent.
_made: dict[str, PictureEstimator] = {}
_lock = threading.Lock()
_changed = threading.Condition()


@dataclass
class _InForce:
    """Whose settings are those of this process, and how many threads estimate with them."""

    token: str = ""
    users: int = 0
    restored: ExitStack = field(default_factory=ExitStack)


_in_force = _InForce()


@dataclass(frozen=True)
class ShippedEstimator:
    """What a process makes an estimator of, and the settings in which it estimates.

    Pickled, an estimator would be made again for each partition: models would be loaded and headers of
    frames be read each time.
    """

    estimator_class: type[PictureEstimator]
    model: partial[Model]
    cutouts: partial[CutoutSource]
    options: dict[str, Any]
    settings: dict[str, Any]
    token: str
    sha256: str  # of the model

    @classmethod
    def of(cls, estimator: PictureEstimator, **settings: Any) -> ShippedEstimator:
        """Return what to send; settings are those in force, but for the ones given.

        Raises
        ------
        TypeError
            If the estimator's model was not loaded from a folder.
        """
        settings = {**{name: getattr(conf, name) for name in conf}, **settings}
        options = {**vars(estimator)}
        model, cutouts = _model_recipe(options.pop("model")), _recipe(options.pop("cutouts"))
        parts = type(estimator), model, cutouts, options, settings
        # Of this catalogue alone: for the next one, pictures may have been added to a folder.
        return cls(*parts, token=uuid.uuid4().hex, sha256=estimator.model.sha256)

    def __dask_tokenize__(self) -> str:
        return self.token

    def predict(self, frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
        """Estimate a partition in this process; of rows without an estimate is warned at the end, once."""
        with self._settings(), without_warnings(r"\d+ of \d+ rows have no estimate"):
            return predict_partition(frame, self._estimator(), allow_fetch=True, **options)

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Set the settings until the last thread that estimates with them is done; other ones wait."""
        with _changed:
            _changed.wait_for(lambda: _in_force.users == 0 or _in_force.token == self.token)
            if _in_force.users == 0:
                other = {n: value for n, value in self.settings.items() if getattr(conf, n) != value}
                _in_force.restored.enter_context(temporary_settings(**other))
                _in_force.token = self.token
            _in_force.users += 1
        try:
            yield
        finally:
            with _changed:
                _in_force.users -= 1
                if _in_force.users == 0:
                    _in_force.restored.close()
                    _changed.notify_all()

    def _estimator(self) -> PictureEstimator:
        """Return the estimator of this process."""
        with _lock:
            if self.token not in _made:
                _made.clear()
                estimator = object.__new__(self.estimator_class)
                model = _loaded(self.model.args, tuple(self.model.keywords.items()), self.sha256)
                vars(estimator).update(self.options, model=model, cutouts=self.cutouts())
                _made[self.token] = estimator
            return _made[self.token]


@lru_cache(maxsize=1)
def _loaded(names: tuple[Any, ...], options: tuple[tuple[str, Any], ...], sha256: str) -> Model:
    """Return a model, which stays for the next catalogue; a ModelError if it is another than was sent."""
    model = load_model(*names, **dict(options))
    if model.sha256 != sha256:
        raise ModelError(
            f"model {model.card.name!r} is another one in this worker: {model.sha256} not {sha256}"
        )
    return model


@contextmanager
def shipping(estimator: PictureEstimator, **settings: Any) -> Iterator[ShippedEstimator]:
    """Give what to send to workers; this process, should it be one of them, has the estimator itself."""
    shipped = ShippedEstimator.of(estimator, **settings)
    _made[shipped.token] = estimator
    try:
        yield shipped
    finally:
        _made.pop(shipped.token, None)


def _model_recipe(model: Model) -> partial[Model]:
    """Return what loads a model again: a bundled one by its name, for other machines have other folders.

    On a GPU it is the first that the process sees, which is another one in each.
    """
    (loads, _) = model.__reduce__()
    (folder,), options = loads.args, dict(loads.keywords)
    options["device"] = options["device"].partition(":")[0]
    name = next((name for name, path in bundled_models().items() if path == folder), None)
    return partial(load_model, name or folder.absolute(), **options)


def _recipe(source: CutoutSource) -> partial[CutoutSource]:
    """Return what opens a source again; it is not opened by unpickling alone."""
    reduced = source.__reduce_ex__(4)
    if isinstance(reduced, str) or len(reduced) > 2:
        return partial(_same, source)
    function, arguments = reduced
    return partial(function, *arguments)


def _same(source: CutoutSource) -> CutoutSource:
    return source
