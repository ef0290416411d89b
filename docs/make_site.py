"""Builds the documentation site: `python docs/make_site.py [FOLDER]`, by default into site/.

The pages link to each other, to pictures and to guides all over the repository. So every file that
README.md leads to is copied, at its own path, to where the site builder reads. Links that work in
the repository then work in the site. The build fails on a link that leads nowhere, and on a page
that would load a script, a style, a font or a picture from another host.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
CODE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
LOADS = {"script": "src", "img": "src", "source": "src", "iframe": "src", "link": "href"}
NO_REQUEST = {"canonical", "alternate", "next", "prev"}  # kinds of <link> that browsers don't load


def find_links(page: Path) -> list[str]:
    """The local targets of a Markdown page's links and pictures, without their anchors."""
    text = CODE.sub("", page.read_text("utf-8"))
    targets = [urlsplit(target) for target in LINK.findall(text)]
    return [unquote(one.path) for one in targets if one.path and not one.scheme]


def find_files(start: Path) -> list[Path]:
    """The page and every file that it leads to, page by page. Raises ValueError for a dead link."""
    files, waiting = [start], [start]
    while waiting:
        page = waiting.pop()
        for target in find_links(page):
            file = (page.parent / target).resolve()
            if not file.is_file() or not file.is_relative_to(ROOT):
                raise ValueError(f"{page.relative_to(ROOT)} links to {target}, which is no file")
            if file not in files:
                files.append(file)
                waiting += [file] if file.suffix == ".md" else []
    return files


class _Page(HTMLParser):
    """The targets of a page's links, the addresses that it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        unused = tag == "link" and values.get("rel") in NO_REQUEST
        if LOADS.get(tag, "") in values and not unused:
            self.loads.append(values[LOADS[tag]])


def check_site(site: Path) -> list[str]:
    """What is wrong in a built site: dead links and anchors, and requests to other hosts."""
    pages = {path: _Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        name = path.relative_to(site)
        away = [url for url in page.loads if urlsplit(url).netloc]
        wrong += [f"{name} loads {url}" for url in away]
        for url in dict.fromkeys([*page.links, *page.loads]):
            if not _leads_somewhere(site, path, url, pages):
                wrong.append(f"{name} links to {url}, which is not there")
    for style in site.rglob("*.css"):
        away = re.findall(r"url\([\"']?((?:https?:)?//[^)\"']+)", style.read_text("utf-8"))
        wrong += [f"{style.relative_to(site)} loads {url}" for url in away]
    return wrong


def _leads_somewhere(site: Path, page: Path, url: str, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return True
    base = site if parts.path.startswith("/") else page.parent
    file = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else page
    file = file / "index.html" if file.is_dir() else file
    if not file.is_file():
        return False
    return not parts.fragment or file not in pages or unquote(parts.fragment) in pages[file].anchors


def build_site(target: Path) -> None:
    """Build the site into a folder, which is replaced. Raises ValueError if anything is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve()
        for file in find_files(ROOT / "README.md"):
            copy = work / "pages" / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
        shutil.copy(ROOT / "mkdocs.yml", work)
        paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "docs")])}
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        done = subprocess.run(command, cwd=work, env=os.environ | paths)
        if done.returncode:
            raise ValueError("the site builder found mistakes, see above")
        wrong = check_site(work / "site")
        if wrong:
            raise ValueError("\n".join(wrong))
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(work / "site", target)


def main() -> int:
    """Build, and say what is wrong; the result is the exit code."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"
    try:
        build_site(target)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{target / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
