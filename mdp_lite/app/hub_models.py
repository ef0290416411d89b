"""Models of the hub that visitors may add to the page, where the operator allows it."""

import threading
from dataclasses import replace
from pathlib import Path

from mdp_lite.app.models import PageModel, build_model
from mdp_lite.app.wording import say
from mdp_lite.checkpoint.load import is_repo
from mdp_lite.cli.model_options import ClusterEngineOptions, EngineOptions, ModelOptions
from mdp_lite.model_pool.catalog import check_fits, read_facts_of
from mdp_lite.model_pool.lending import ModelLender
from mdp_lite.model_pool.specs import ModelSpec
from mdp_lite.names import BadInput

AnyEngine = EngineOptions | ClusterEngineOptions
MAX_MODELS = 8  # of the hub, for all visitors together: they take space on the disk


class HubModels:
    """Fetches models for a lender, one at a time, loaded as common and engine say."""

    def __init__(self, lender: ModelLender, common: ModelOptions, engine: AnyEngine) -> None:
        self._lender, self._common, self._engine = lender, common, engine
        self._count, self._lock = 0, threading.Lock()

    def fetch(self, hub_id: str) -> PageModel:
        """The model organisation/model, whose files are on this machine's disk then.

        Raises BadInput for another name, for too many models, and for one that can never fit;
        BadCheckpoint if it can't be fetched or is of another kind.
        """
        if not is_repo(hub_id) or Path(hub_id).exists():  # else it would be a folder of the server
            raise BadInput(say("model", "hub_name", name=hub_id[:80]), "hub")
        with self._lock:
            if hub_id not in self._lender.catalog.specs:  # another visitor may have been first
                self._add(hub_id)
        return build_model(self._lender, hub_id)

    def _add(self, hub_id: str) -> None:
        """Let the pool load it from now on."""
        if self._count >= MAX_MODELS:
            raise BadInput(say("model", "hub_full", count=MAX_MODELS), "hub")
        spec = ModelSpec(hub_id, replace(self._common, name=hub_id), self._engine)
        catalog = self._lender.catalog
        self._count += 1  # its files are on the disk from now on, also if it does not fit
        facts = read_facts_of(spec)
        check_fits([spec], {spec.alias: facts}, self._lender.stays, self._lender.bound)
        catalog.specs[hub_id], catalog.facts[hub_id] = spec, facts
