"""Captions of the village: any of a scene's named fields, in three forms, with synonyms.

What is unusual is named in every caption that names a thing, so that a short one means the usual: a
photo of one plain thing, in the center and alone, in clear weather in summer, with sun or moon
(record.USUAL).
"""

import random
from typing import NamedTuple

from mdp_lite.eval.village.record import FIELDS, THINGS, USUAL, VillageScene
from mdp_lite.names import BadInput

FORMS = ("comma", "sentence", "title")
SUBJECT = {"object", "color", "material", "count", "position"}
FRIEND = {"friend", "friend_color"}
PLURALS = {thing: f"{thing}s" for thing in THINGS} | {"snowman": "snowmen"}
SYNONYMS: dict[str, tuple[str, ...]] = {
    "meadow": ("on a meadow", "on the grass"),
    "sand": ("on the sand", "on a beach"),
    "lake": ("on a lake", "on the water"),
    "street": ("on a street", "on a road"),
    "field": ("on a field", "on the farmland"),
    "mountains": ("the mountains", "the peaks"),
    "hills": ("the hills",),
    "forest": ("the forest", "the woods"),
    "city": ("the city", "the town"),
    "sea": ("the sea", "the ocean"),
    "autumn": ("autumn", "fall"),
    "dawn": ("dawn", "sunrise"),
    "day": ("day", "noon"),
    "sunset": ("sunset", "dusk"),
    "night": ("night", "midnight"),
    "cloudy": ("cloudy", "overcast"),
    "foggy": ("foggy", "misty"),
    "photo": ("photo", "photograph"),
    "ink": ("ink drawing", "ink sketch"),
    "watercolor": ("watercolor", "watercolor painting"),
    "pixel": ("pixel picture", "pixel art picture"),
    "neon": ("neon picture", "neon painting"),
    "left": ("on the left", "at the left"),
    "center": ("in the center", "in the middle"),
    "right": ("on the right", "at the right"),
    "beside": ("beside", "near", "next to", "with"),
    "front": ("before", "in front of"),
    "two": ("two", "a pair of"),
}
LINKS = """
    , a alone an and as at before by in light moon no of on one sky something stand stands sun the
    thing things three two under weather with
""".split()
VOWELS = "aeiou"


class Voice(NamedTuple):
    """How to say the named fields of a scene; without a source of chance the first synonym."""

    scene: VillageScene
    fields: frozenset[str]
    rng: random.Random | None

    def names(self, *fields: str) -> bool:
        """Whether any of these fields is to be named."""
        return not self.fields.isdisjoint(fields)

    def word(self, field: str) -> str:
        """The scene's value of a field, or nothing if the field is not to be named."""
        return self.synonym(getattr(self.scene, field)) if field in self.fields else ""

    def synonym(self, value: str) -> str:
        """One of the phrases for a value."""
        options = SYNONYMS.get(value, (value,))
        return self.rng.choice(options) if self.rng else options[0]


def list_words() -> tuple[str, ...]:
    """Every word of every caption, sorted, the comma among them."""
    values = [
        value for options in FIELDS.values() for value in options if value not in ("none", "shown")
    ]
    said = [phrase for value in values for phrase in SYNONYMS.get(value, (value,))]
    extra = [phrase for key in ("beside", "front", "two") for phrase in SYNONYMS[key]]
    phrases = (*said, *extra, *PLURALS.values(), *LINKS)
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


def caption(
    scene: VillageScene,
    fields: tuple[str, ...] = tuple(FIELDS),
    form: str = "comma",
    rng: random.Random | None = None,
) -> str:
    """A text that names these fields of a scene, in one of FORMS; rng chooses among synonyms.

    Unusual values are named in any case, see list_unusual. Raises BadInput for unknown fields or
    forms.
    """
    for field in fields:
        if field not in FIELDS:
            raise BadInput(f"fields must be among {', '.join(FIELDS)}, got {field!r}")
    if not fields:
        raise BadInput("fields must name at least one field, got none")
    if form not in FORMS:
        raise BadInput(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    voice = Voice(scene, frozenset(fields) | list_unusual(scene, fields), rng)
    return {"comma": say_comma, "sentence": say_sentence, "title": say_title}[form](voice)


def list_unusual(scene: VillageScene, fields: tuple[str, ...]) -> set[str]:
    """The fields that a caption of these fields names in any case.

    Those of the things themselves only if the caption names these things at all.
    """
    found = {field for field, value in USUAL.items() if getattr(scene, field) != value}
    things = SUBJECT | FRIEND
    return found if things.intersection(fields) else found - things


def random_caption(scene: VillageScene, rng: random.Random) -> str:
    """A caption as a person might write it: a third name every field, others a few or many."""
    form = rng.choice(FORMS)
    if rng.random() < 0.33:
        return caption(scene, form=form, rng=rng)
    others = [field for field in FIELDS if field not in ("object", "friend_color")]
    with_object = rng.random() < 0.88
    count = round((len(others) - 1) * rng.random() ** 1.5)
    chosen = rng.sample(others, max(count, not with_object)) + ["object"] * with_object
    if "friend" in chosen and rng.random() < 0.7:
        chosen.append("friend_color")
    return caption(scene, tuple(chosen), form, rng)


def say_comma(voice: Voice) -> str:
    """As in: ink drawing of a red house on the left, near a dog, on a meadow, winter night."""
    style, subject = voice.word("style"), _subject(voice)
    position = voice.word("position")
    head = _join(style, "of" if style and subject else "", subject, position)
    moment = _join(voice.word("weather"), voice.word("season"), voice.word("time"))
    if moment and not voice.names("season", "time"):
        moment = _join(moment, "weather")
    moment = _join(moment, _light(voice)) if moment else _light(voice)
    return _list(head, _friend(voice), voice.word("ground"), _backdrop(voice), moment)


def say_sentence(voice: Voice) -> str:
    """As in: on a foggy winter night, a red house stands on the left, before the hills, in ink."""
    subject, position = _subject(voice), voice.word("position")
    verb = ""
    if subject and position:
        verb = "stand" if voice.names("count") and voice.scene.count != "one" else "stands"
    body = _list(_join(subject, verb, position), _friend(voice))
    land = _join(voice.word("ground"), _backdrop(voice))
    style = voice.word("style")
    return _list(
        _join(_when(voice), _light(voice)), body, land, f"as {_article(style)}" if style else ""
    )


def say_title(voice: Voice) -> str:
    """As in: a red house and a blue dog before the hills, winter, foggy, at night, ink drawing."""
    land = _join(voice.word("ground"), _backdrop(voice))
    friend = _friend(voice)
    if friend and friend != "alone" and _subject(voice):
        friend = "and " + _second(voice)
    moment = _list(voice.word("season"), voice.word("weather"), _hour(voice))
    return _list(
        _join(_subject(voice), friend, land), moment, _light(voice), voice.word("position"),
        voice.word("style"),
    )  # fmt: skip


def _subject(voice: Voice) -> str:
    """As in: three red striped cats; a cat; something red; or nothing."""
    if not voice.names(*SUBJECT):
        return ""
    many = voice.names("count") and voice.scene.count != "one"
    looks = _join(voice.word("color"), voice.word("material"))
    if many:
        noun = PLURALS[voice.scene.object] if voice.names("object") else "things"
        return _join(voice.word("count"), looks, noun)
    if not voice.names("object"):
        one = voice.names("count")
        return _join("one", looks, "thing") if one else _join("something", looks)
    if voice.names("count") and voice.rng and voice.rng.random() < 0.5:
        return _join("one", looks, voice.scene.object)
    return _article(_join(looks, voice.scene.object))


def _second(voice: Voice) -> str:
    """As in: a blue windmill; something blue."""
    color = voice.word("friend_color")
    if not voice.names("friend"):
        return _join("something", color)
    return _article(_join(color, voice.scene.friend))


def _friend(voice: Voice) -> str:
    """As in: beside a blue windmill; alone; or nothing."""
    if not voice.names(*FRIEND):
        return ""
    if voice.scene.friend == "none":
        return "alone"
    return _join(voice.synonym("beside"), _second(voice))


def _backdrop(voice: Voice) -> str:
    """As in: before the hills; or nothing."""
    return _join(voice.synonym("front"), voice.word("backdrop")) if voice.names("backdrop") else ""


def _hour(voice: Voice) -> str:
    """The hour with its preposition: at night; by day; or nothing."""
    time = voice.word("time")
    return _join("by" if time == "day" else "at", time) if time else ""


def _when(voice: Voice) -> str:
    """As in: on a foggy winter night; at night; in a foggy winter; in foggy weather; or nothing."""
    weather, season, time = (voice.word(field) for field in ("weather", "season", "time"))
    if time:
        if not (weather or season):
            return _join("by" if time == "day" else "at", time)
        on = "on" if time in ("day", "night") else "at"
        return _join(on, _article(_join(weather, season, time)))
    if season:
        return _join("in", _article(_join(weather, season)) if weather else season)
    return _join("in", weather, "weather") if weather else ""


def _light(voice: Voice) -> str:
    """As in: under the moon; with no sun; with a light in the sky; or nothing."""
    if not voice.names("light"):
        return ""
    known = voice.names("time")
    disc = "moon" if voice.scene.time == "night" else "sun"
    if voice.scene.light == "none":
        return _join("with no", disc if known else "light in the sky")
    if not known:
        return "with a light in the sky"
    under = voice.rng and voice.rng.random() < 0.5
    return _join("under the" if under else "with the", disc)


def _article(words: str) -> str:
    """The words after a or an."""
    return f"an {words}" if words[0] in VOWELS else f"a {words}"


def _join(*words: str) -> str:
    """The words that are not empty, separated by blanks."""
    return " ".join(filter(None, words))


def _list(*phrases: str) -> str:
    """The phrases that are not empty, separated by commas."""
    return ", ".join(filter(None, phrases))
