"""What MkDocs does beside Markdown: pages may link to files of the repository, which the site then holds.

A link such as `../results/verdict/README.md` works where the repository is read; in the site it leads to a copy below
`repository/`. Linked Markdown files become pages, with the files that they link to.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
COPIES = "repository"
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_PICTURE = re.compile(r'<img [^>]*src="([^"]+)"[^>]*/?>')
_BRACKETED = re.compile(r"\[(<code>[^<]*</code>)\]")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    todo = [(file.src_uri, Path(file.abs_src_path)) for file in files.documentation_pages() if file.abs_src_path]
    known: set[str] = set()
    while todo:
        uri, path = todo.pop()
        for target in outside(uri, path.read_text(encoding="utf-8")):
            source = ROOT / target
            if target in known or not source.is_file():
                continue
            known.add(target)
            file = File.generated(config, f"{COPIES}/{target}", abs_src_path=str(source))
            files.append(file)
            if source.suffix == ".md":
                todo.append((file.src_uri, source))
    return files


def outside(uri: str, text: str) -> list[str]:
    """Paths in the repository that a page links to and that lie outside of docs/."""
    places = [place_in_repository(uri, match[2]) for match in _LINK.finditer(text)]
    return [place for place in places if not place.startswith("docs/") and (ROOT / place).exists()]


def place_in_repository(uri: str, target: str) -> str:
    own = uri.removeprefix(f"{COPIES}/") if uri.startswith(f"{COPIES}/") else f"docs/{uri}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(own), target))


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Leads links out of docs/ to the site's copies; a link to a folder is left as its text."""
    here = posixpath.dirname(page.file.src_uri)

    def lead(match: re.Match[str]) -> str:
        place = place_in_repository(page.file.src_uri, match[2])
        if place.startswith("docs/") and not page.file.src_uri.startswith(f"{COPIES}/"):
            return match[0]
        target = place.removeprefix("docs/") if place.startswith("docs/") else f"{COPIES}/{place}"
        if files.get_file_from_path(target) is None:
            return match[0] if not (ROOT / place).is_dir() else "]()"
        return f"{match[1]}{posixpath.relpath(target, here or '.')}{match[3]}"

    markdown = _LINK.sub(lead, markdown)
    markdown = re.sub(r"(?<!\!)\[([^\]]+)\]\(\)", r"\1", markdown)
    return re.sub(r"^[ ]*<!-- not run: .* -->\n", "", markdown, flags=re.M)


def on_page_content(html: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Docstrings name other objects as [`name`]; without a link the brackets go. Pictures lead to their files."""
    return _PICTURE.sub(r'<a href="\1">\g<0></a>', _BRACKETED.sub(r"\1", html))
