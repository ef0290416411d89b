"""Which models `mdp-lite app` offers: from its options to the menu of the page."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mdp_lite.app.hub_models import HubModels
from mdp_lite.app.models import PageModels, offer_one, offer_several
from mdp_lite.cli.commands.app import AppOptions
from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.editor import Editor
from mdp_lite.model_pool.catalog import check_fits, choose_room, read_facts_of
from mdp_lite.model_pool.local_pool import EditorLoader, PoolSettings, run_pool
from mdp_lite.model_pool.specs import (
    ModelSpec,
    list_folder,
    read_editor_facts,
    read_named_models,
    read_specs,
    share_options,
)
from mdp_lite.names import DEFAULT_MODEL, BadInput

GB = 10**9


def read_first(args: AppOptions) -> ModelSpec:
    """The first model of the options; it stays loaded. Raises BadInput."""
    (alias, name), *_ = read_named_models(args.model.names or (DEFAULT_MODEL,))
    return ModelSpec(alias, args.model.read_one(name), args.engine, is_pinned=True)


def read_offer(args: AppOptions, editor: Editor, log: Callable[[str], None]) -> PoolSettings:
    """All models of the options; editor is the first. Raises BadInput for one that was named.

    log gets a sentence on each model of a folder that is left out.
    """
    first, common = read_first(args), share_options(read_first(args).model)
    _, *more = read_named_models(args.model.names or (DEFAULT_MODEL,))
    named = [ModelSpec(alias, replace(common, name=name), args.engine) for alias, name in more]
    memory, place = args.several.model_memory, args.several.models_place
    bytes_of_all = None if memory is None else int(memory * GB)
    if place is not None and place.is_dir():
        known = [first, *named]
        some = [one for one in list_folder(place, common, args.engine) if _is_new(one, known, log)]
        named += leave_out(some, editor, bytes_of_all, log)
    elif place is not None:
        named += read_specs([], place, first.model, args.engine)
    return PoolSettings(
        first.alias, first, check_names(first, named), bytes_of_all, grows=args.several.allow_hub
    )


def check_names(first: ModelSpec, others: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    """The others. Raises BadInput if two models have one name."""
    names = [first.alias, *(one.alias for one in others)]
    if len(set(names)) < len(names):
        raise BadInput(f"each model must have another name, got {', '.join(names)}", "model")
    return tuple(others)


def leave_out(
    specs: Sequence[ModelSpec], editor: Editor, memory: int | None, log: Callable[[str], None]
) -> list[ModelSpec]:
    """The models of a folder that can be loaded beside the first."""
    first, found = read_editor_facts(editor).bytes, []
    bound = choose_room(memory, first, editor.device)
    for one in specs:
        try:
            check_fits([one], {one.alias: read_facts_of(one)}, first, bound)
        except BadInput as error:
            log(f"left out: {error}")
        else:
            found.append(one)
    return found


def _is_new(spec: ModelSpec, known: list[ModelSpec], log: Callable[[str], None]) -> bool:
    """Whether a model of a folder is not offered already; if so it is known from now on."""
    if any(one.model.name == spec.model.name for one in known):
        return False
    if any(one.alias == spec.alias for one in known):
        log(f"left out: {spec.model.name}: another model is called {spec.alias!r}")
        return False
    known.append(spec)
    return True


@contextmanager
def open_menu(editor: Editor, settings: PoolSettings) -> Iterator[PageModels]:
    """The menu of the page; a pool is run only if there are several models, or may be."""
    if not settings.others and not settings.grows:
        yield offer_one(editor)
        return
    first = settings.first
    with run_pool(editor, settings) as lender:
        hub = HubModels(lender, share_options(first.model), first.engine)
        fetch = hub.fetch if settings.grows else None
        yield offer_several(editor, settings.alias, lender, fetch)


def describe_offer(editor: Editor, settings: PoolSettings) -> dict[str, Any]:
    """What a dry run says of several models; {} of one. Raises BadInput if one can't be loaded."""
    if not settings.others:
        return {}
    catalog = EditorLoader(editor, settings)
    models = {
        alias: {
            "family": one.family, "size": list(one.size), "bytes": one.bytes,
            "disk_bytes": sum(file.size for file in one.origin.files),
            "pinned": alias == settings.alias,
        }
        for alias, one in catalog.facts.items()
    }  # fmt: skip
    bound = None if catalog.bound == float("inf") else int(catalog.bound)
    return {"models": models, "model_memory": bound}


def format_offer(facts: dict[str, Any]) -> list[str]:
    """The same as lines for people."""
    lines = []
    for alias, one in facts.get("models", {}).items():
        disk, memory = (format_count(one[key], SIZES) for key in ("disk_bytes", "bytes"))
        how = "stays loaded" if one["pinned"] else "loaded when a visitor edits by it"
        size = "x".join(map(str, one["size"]))
        lines.append(
            f"model {alias}: {one['family']}, {size}, {disk} on disk, {memory} in memory, {how}"
        )
    if bound := facts.get("model_memory"):
        lines.append(f"at most {format_count(bound, SIZES)} for the weights of loaded models")
    return lines
