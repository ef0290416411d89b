"""The JSON schemas of answers, for the OpenAPI document."""

from typing import Any

Schema = dict[str, Any]


def build_object(required: Schema, **optional: Schema) -> Schema:
    """The schema of an object with these properties."""
    return {"type": "object", "required": list(required), "properties": required | optional}


def _list(items: Schema, description: str = "") -> Schema:
    return {
        "type": "array",
        "items": items,
        **({"description": description} if description else {}),
    }


def _text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **more}


def _whole(description: str = "") -> Schema:
    return {"type": "integer", **({"description": description} if description else {})}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _each(value: Schema, description: str) -> Schema:
    return {"type": "object", "additionalProperties": value, "description": description}


NULL = {"type": "null"}
SEED = {"anyOf": [_whole("the seed of the noise"), NULL]}
TOKENS = build_object({"image_tokens": _whole(), "text_tokens": _whole()})
USAGE = build_object(
    {
        "input_tokens": _whole(),
        "input_tokens_details": TOKENS,
        "output_tokens": _whole("UNet rows that were computed"),
        "total_tokens": _whole("the same number"),
    }
)
PICTURE = {
    "b64_json": _text("the picture's file in base64", contentEncoding="base64"),
    "seed": SEED,
    "finished": _flag("whether all steps were done before the deadline"),
    "truncated": _flag("whether a prompt was too long for the model and was cut"),
}
SETTINGS = _each({}, "how the picture was made")
LORAS = _list(
    build_object({"name": _text(), "weight": {"type": "number"}}), "LoRAs that were merged, if any"
)


def _pictures(item: Schema) -> Schema:
    """The answer to a request for pictures, each of which has this schema."""
    return build_object(
        {
            "created": _whole("seconds since 1970"),
            "data": _list(item),
            "size": _text("WIDTHxHEIGHT of the first picture"),
            "output_format": _text(enum=["png", "jpeg", "webp"]),
            "background": _text(enum=["opaque"]),
            "usage": USAGE,
            "timings": _each({"type": "number"}, "seconds of each stage"),
            "truncated": _flag("whether any prompt was cut"),
            "model": _text("the name of the model that made the pictures"),
            "ignored": _each(_text(), "fields of the request that have no effect, and why"),
            "unknown_words": _list(_text(), "words that the model was not trained on"),
            "notes": _list(_text(), "sentences on pictures that the model can only blur"),
        },
        lora=LORAS,
    )


IMAGES = _pictures(build_object(PICTURE))
SWEEP = _pictures(build_object(PICTURE | {"settings": SETTINGS}))
SOURCE = build_object(
    {
        "id": _text("for edits of this source"),
        "object": _text(enum=["source"]),
        "expires_in": _whole("seconds, after the last use"),
        "prompt": _text(),
        "method": {"anyOf": [_text("of the inversion"), NULL]},
        "seed": SEED,
        "num_inference_steps": _whole(),
        "size": _text("WIDTHxHEIGHT"),
        "truncated": _flag("whether the prompt was cut"),
        "usage": USAGE,
        "model": _text("the name of the model that made it"),
    },
    lora=LORAS,
    xl=_each({}, "what SDXL read beside the prompt"),
    ignored=_each(_text(), "fields of the request that have no effect, and why"),
)
DELETED = build_object(
    {"id": _text(), "object": _text(enum=["source"]), "deleted": _flag("always true")}
)
MODEL = build_object(
    {
        "id": _text("a name that requests may use"),
        "object": _text(enum=["model"]),
        "created": _whole(),
        "owned_by": _text(),
        "root": _text("the first name of the same model"),
        "family": _text("as Stable Diffusion 1.x"),
        "size": _text("WIDTHxHEIGHT of its pictures by default"),
        "pictures": _text("what they are, if it was trained on few kinds"),
        "words": _list(_text(), "that it was trained on, if they are few"),
        "max_side": _whole("the longest side of a picture in pixels"),
        "parameters": _whole(),
        "bytes": _whole("of its weights in memory"),
        "dtype": _text("of its weights"),
        "defaults": _each({}, "of fields that a request leaves out"),
        "state": _text(enum=["loaded", "loading", "unloaded", "failed"]),
        "pinned": _flag("whether it stays loaded"),
        "loras": _list(_text(), "what the field lora may name"),
    }
)
MODELS = build_object({"object": _text(enum=["list"]), "data": _list(MODEL)})
STATUS = build_object({"status": _text()})
ABOUT = build_object(
    {
        "name": _text(), "version": _text(), "description": _text(), "docs": _text(),
        "openapi": _text(), "api": _text(),
    }
)  # fmt: skip
ERROR = build_object(
    {
        "error": build_object(
            {
                "message": _text(), "type": _text(),
                "param": {"anyOf": [_text("the field that is wrong"), NULL]},
                "code": {"anyOf": [_text(), NULL]},
            }
        )
    }
)  # fmt: skip
EVENTS = build_object(
    {
        "event": _text(
            enum=[
                *(f"image_{one}.{when}" for one in ("edit", "generation")
                  for when in ("partial_image", "completed")),
                "error",
            ]
        ),
        "data": _text("an object in JSON; the last event has the picture, or the error"),
    },
    id=_text(), retry=_whole(),
)  # fmt: skip
FILE = _text("a PNG, JPEG or WebP", format="binary")
