"""Loads the models of a service, warmed up by its batcher."""

from mdp_lite.batcher.batcher import Batcher, Client
from mdp_lite.editor import Editor
from mdp_lite.model_pool.catalog import ModelCatalog, list_pairs
from mdp_lite.model_pool.keys import ModelKey, ModelSlot
from mdp_lite.serve.served import ServedModel, prepare_models, time_row
from mdp_lite.serve.settings import ServiceSettings


class ModelLoader(ModelCatalog):
    """The catalog of a service's models, which also loads them."""

    def __init__(self, editor: Editor, settings: ServiceSettings, batcher: Batcher) -> None:
        super().__init__(editor, settings)
        self._settings, self._batcher = settings, batcher

    def load(self, key: ModelKey, slot: ModelSlot) -> ServedModel:
        """The model, warmed up by the batcher, in turns with the work of others."""
        editor = self.specs[key.alias].load(list_pairs(key))
        model = ServedModel(editor, self._settings, key, slot)
        cost = model.row_work
        with self._batcher.client(Client()) as client:
            self._batcher.call(client, lambda: prepare_models(editor, model.max_rows), cost)
            seconds = self._batcher.call(client, lambda: time_row(editor), cost)
        model.unet.speed.add(cost, seconds)
        return model
