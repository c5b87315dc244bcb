"""The live view of a run on a terminal: the plan as a tree, its states, what is waited for, and the money."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from orchestrator.cli.progress import AskFunds, lines
from orchestrator.core.domain import OrchestratorError, State, SubtaskId
from orchestrator.core.events import Event, Noted, RunEnded, RunPaused, RunStarted
from orchestrator.core.progress import Progress, Row
from orchestrator.core.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_PER_SECOND = 4
# More rows than fit the screen are summed up, those in motion last of all, so that money and time are always seen.
MOST_ROWS = 30
LEAST_ROWS = 3
MOST_REMARKS = 3

_MARKS = {
    State.WAITING: ("·", "dim"),
    State.RUNNING: ("▶", "bold cyan"),
    State.SUCCEEDED: ("✓", "green"),
    State.FAILED: ("✗", "bold red"),
    State.BLOCKED: ("⊘", "yellow"),
    State.CANCELLED: ("–", "dim"),
    State.SKIPPED: ("–", "dim"),
}


class LiveView:
    """Redraws itself a few times a second while it is open; the last picture stays on the screen."""

    def __init__(
        self,
        progress: Progress | None = None,
        funds: AskFunds | None = None,
        console: Console | None = None,
    ) -> None:
        self.progress = progress or Progress()
        self._funds = funds
        self._remarks: list[str] = []
        self._console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = Live(
            console=self._console,
            get_renderable=self.picture,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=False,
        )

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def __call__(self, event: Event) -> None:
        self.progress.take_in(event)
        match event:
            case Noted() | RunPaused() | RunEnded():
                self._remarks += lines(event, self.progress)

    def gone(self) -> bool:
        return False

    def detach(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            try:
                live.stop()
            except (OSError, ValueError):
                # The terminal has gone; there is nobody to draw for.
                return

    # --- the picture ---------------------------------------------------------------------------------

    def picture(self) -> RenderableType:
        """The tree, the remarks and the line of money and time."""
        started = self.progress.started
        if started is None:
            return Text("preparing ...", style="dim")
        remarks = [_line(Text(remark, style="yellow")) for remark in self._remarks[-MOST_REMARKS:]]
        foot = self._foot()
        width, height = self._console.size
        framing = 1 + len(remarks) + -(-foot.cell_len // width) + 1
        most = min(MOST_ROWS, max(LEAST_ROWS, height - framing - 1))
        return Group(_line(self._head(started)), *self._trees(most), *remarks, foot)

    def _head(self, started: RunStarted) -> Text:
        text = Text(f"run {started.run}", style="bold")
        text.append(f"  {one_line(started.plan.goal, 60)}", style="default")
        if started.scripted:
            text.append(f"  {one_line(started.scripted, 60)}", style="bold magenta")
        return text

    def _trees(self, most: int) -> list[Tree]:
        rows, left_out = self.progress.rows(most)
        shown = {row.id for row in rows}
        branches: dict[SubtaskId, Tree] = {}
        roots: list[Tree] = []
        # A subtask may stand in the plan before the one it hangs under.
        todo = rows
        while todo:
            later = []
            for row in todo:
                if row.below in shown and row.below not in branches:
                    later.append(row)
                    continue
                branch = branches[row.below].add(_label(row)) if row.below in shown else None
                if branch is None:
                    branch = Tree(_label(row), guide_style="dim")
                    roots.append(branch)
                branches[row.id] = branch
            todo = later
        if left_out:
            roots.append(Tree(Text(f"... and {left_out} more", style="dim")))
        return roots

    def _foot(self) -> Text:
        counts = self.progress.counts()
        text = Text()
        for state in State:
            if counts[state]:
                text.append(f"{counts[state]} {state.value}  ", style=_MARKS[state][1])
        text.append(self._money())
        seconds = self.progress.seconds_left()
        if seconds is not None and seconds > 0:
            text.append(f"  about {duration(seconds)} left", style="dim")
        return text

    def _money(self) -> str:
        if self._funds is None:
            return f"{self.progress.spent.rounded()} spent"
        try:
            funds = self._funds()
        except OrchestratorError:
            # The run meets the same fault, and says so.
            return f"{self.progress.spent.rounded()} spent"
        left = f", {funds.left.rounded_down()} left" if funds.left is not None else ""
        return f"{funds.spent.rounded()} spent, {funds.held.rounded()} held{left}"


def _line(text: Text) -> Text:
    """Of what is too long for one line, the beginning."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _label(row: Row) -> Text:
    mark, style = _MARKS[row.state]
    text = Text(f"{mark} ", style=style)
    text.append(one_line(row.id, 40), style=style)
    text.append(f" [{one_line(row.tier, 12)}]", style="dim")
    text.append(f" {row.state.value}", style=style)
    if row.said:
        text.append(f" {one_line(row.said, 90)}", style="dim")
    if row.also_after:
        text.append(f" (also after {one_line(', '.join(row.also_after), 60)})", style="dim")
    return _line(text)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
