"""What the HTML pages share: templates, headline tiles, figures as markup, and writing a page whole or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import plotly.graph_objects as go
import plotly.io
import plotly.offline

from sweeps.store import write_atomically

SCRIPT_NAME = "plotly.min.js"

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the headline."""

    label: str
    value: str
    tone: str = ""  # "gain", "loss" or none


def write_page(path: Path, render: Callable[[str], str], inline: bool) -> None:
    """Write a page to `path` (beside it first, then renamed).

    Parameters
    ----------
    render : (script) -> the page's text
        `script` is plotly's, "" for a page that loads plotly.min.js from its own folder.
    inline : bool
        True: one file to send, plotly's script inside (about 5 MB). False: the script is written once into the same
        folder as plotly.min.js and shared by every page there.
    """
    script = plotly.offline.get_plotlyjs()
    page = render(script if inline else "")
    if not inline and not (path.parent / SCRIPT_NAME).exists():
        write_atomically(path.parent / SCRIPT_NAME, script.encode())
    write_atomically(path, page.encode())


def embed(figure: go.Figure, name: str, has_buttons: bool = True) -> markupsafe.Markup:
    """Return a figure as markup under a fixed id instead of a random one: the same result gives the same bytes."""
    config: dict[str, Any] = {"displaylogo": False, "responsive": True}
    if has_buttons:
        config["modeBarButtons"] = [["toImage", "zoom2d", "pan2d", "resetScale2d"]]
    else:
        config["displayModeBar"] = False
    html = plotly.io.to_html(figure, include_plotlyjs=False, full_html=False, div_id=f"chart-{name}", config=config)
    return as_markup(html)


def as_markup(html: str) -> markupsafe.Markup:
    """Return text that a template does not escape: ours only, never a name from outside."""
    return markupsafe.Markup(html)


def get_tone(value: float) -> str:
    """Return the class that colours a profit or a loss."""
    return "gain" if value > 0 else "loss" if value < 0 else ""
