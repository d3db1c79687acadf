"""Draws docs/terminal.svg: a real conversation with the built-in model, as a terminal shows it.

    pip install pyte==0.8.2
    python docs/terminal.py target/release/fathom

The program runs on a pseudo-terminal, `pyte` follows what it writes, and the screen's cells become text of an SVG.
"""

import os
import pty
import select
import sys
import tempfile
import time
from html import escape
from pathlib import Path

import pyte

COLUMNS, LINES = 118, 26
CELL = (8.4, 18)
MARGIN = 14
# What the person types, each when the one before is answered.
TYPED = ["What does river mean?", "What is 412 - 87?", "/think on", "What does the word tree mean?", "/context"]
INK = "#d8dee4"
DIM = "#8b949e"
COLOURS = {"red": "#ff7b72", "green": "#7ee787", "brown": "#e3b341", "blue": "#79c0ff", "magenta": "#d2a8ff",
           "cyan": "#76e3ea", "brightblack": DIM}
# What the line editor sends when it begins to listen.
LISTENS = b"\x1b[?2004h"


class Screen(pyte.HistoryScreen):
    """Dim text, which pyte does not know, is shown as bright black."""

    def select_graphic_rendition(self, *attributes, **more):
        attributes = [90 if attribute == 2 else attribute for attribute in attributes]
        super().select_graphic_rendition(*attributes, **more)


def talk(program):
    """The screen at the end of the conversation."""
    screen = Screen(COLUMNS, LINES, history=1000)
    stream = pyte.ByteStream(screen)
    with tempfile.TemporaryDirectory() as folder:
        pid, terminal = pty.fork()
        if pid == 0:
            kept = {name: folder for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "FATHOM_CACHE_DIR")}
            settings = {"FATHOM_CONFIG": "/dev/null", "FATHOM_SYSTEM_CONFIG": "/dev/null", "TERM": "xterm-256color"}
            size = {"COLUMNS": str(COLUMNS), "LINES": str(LINES)}
            os.execve(program, ["fathom", "chat", "--seed", "5", "--temp", "0"], {**os.environ, **kept, **settings, **size})
        pty_size(terminal)
        for line in [*TYPED, None]:
            listen(terminal, stream)
            if line is not None:
                os.write(terminal, line.encode() + b"\r")
        os.write(terminal, b"\x04")
        os.waitpid(pid, 0)
    return screen


def pty_size(terminal):
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))


def listen(terminal, stream):
    """Follows the program until it waits for a line."""
    seen, until = b"", time.monotonic() + 60
    while time.monotonic() < until:
        ready, _, _ = select.select([terminal], [], [], 0.5)
        if ready:
            new = os.read(terminal, 65536)
            seen += new
            stream.feed(new)
        elif LISTENS in seen:
            return
    raise SystemExit("the program did not ask for a line within a minute")


def draw(screen):
    """The screen as SVG: a text element a line, a span a style."""
    rows = [screen.buffer[y] for y in range(LINES)]
    while rows and all(rows[-1][x].data == " " for x in range(COLUMNS)):
        rows.pop()
    width, height = COLUMNS * CELL[0] + 2 * MARGIN, len(rows) * CELL[1] + 2 * MARGIN
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
           f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="A conversation with Fathom in a terminal">',
           '<rect width="100%" height="100%" rx="8" fill="#0d1117"/>',
           f'<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" fill="{INK}" xml:space="preserve">']
    for y, row in enumerate(rows):
        spans, x = [], 0
        while x < COLUMNS:
            style, start = look(row[x]), x
            while x < COLUMNS and look(row[x]) == style:
                x += 1
            text = "".join(row[column].data for column in range(start, x))
            if text.strip():
                spans.append(f'<tspan x="{MARGIN + start * CELL[0]:.1f}"{style}>{escape(text)}</tspan>')
        out.append(f'<text y="{MARGIN + (y + 0.75) * CELL[1]:.1f}">{"".join(spans)}</text>')
    return "\n".join([*out, "</g>", "</svg>", ""])


def look(cell):
    """Attributes of a cell's text."""
    style = f' fill="{COLOURS[cell.fg]}"' if cell.fg in COLOURS else ""
    style += ' font-weight="bold"' if cell.bold else ""
    return style + (' font-style="italic"' if cell.italics else "")


if __name__ == "__main__":
    picture = Path(__file__).with_name("terminal.svg")
    picture.write_text(draw(talk(sys.argv[1])))
    print(f"wrote {picture}")
