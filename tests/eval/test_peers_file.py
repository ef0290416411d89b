"""The page of the peers' table says what the file of the measurements says."""

import json

from benchmarks.peers.__main__ import describe
from benchmarks.peers.peers import ANCHOR, PEERS
from benchmarks.peers.table import sections_of, to_markdown
from support.places import ROOT

RESULTS = ROOT / "benchmarks" / "results"
DATA = json.loads((RESULTS / "peers.json").read_text("utf-8"))


def test_the_page_is_made_of_the_file() -> None:
    page = to_markdown(DATA, "sd15", PEERS, describe(DATA, "sd15"))
    assert page == (RESULTS / "peers.md").read_text("utf-8")
    assert (RESULTS / "peers.png").exists()


def test_every_section_has_the_anchor_and_names_the_processor() -> None:
    sections = sections_of(DATA, "sd15")
    assert sections and len(sections) == len(DATA)
    for one in sections.values():
        assert ANCHOR.name in one["sides"] and "family" in one["processor"]
        assert all(group[0] == ANCHOR.name for group in one["groups"])
