"""What a subtask, or a whole run, waits for: in words for people."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.core.board import Board
from orchestrator.core.domain import WaitingFor
from orchestrator.core.events import Pause
from orchestrator.core.node import Node, Phase
from orchestrator.core.ready import ALONE


class Waiting(NamedTuple):
    """`detail` names what exactly: the dependency, the file and who has it, the refusal's sentence."""

    what: WaitingFor
    detail: str


def waiting_of(board: Board, node: Node, paused: str = "") -> Waiting | None:
    """Return what the subtask waits for, or None when it runs or has ended."""
    match node.phase:
        case Phase.READY | Phase.PENDING if not board.is_selected(node):
            return Waiting(WaitingFor.USER, "not selected")
        case Phase.READY | Phase.PENDING if paused and not node.missing:
            return Waiting(WaitingFor.USER, paused)
        case Phase.PENDING if node.missing:
            missing = [board.nodes[place] for place in node.needs]
            names = [other.id for other in missing if other.phase is not Phase.SUCCEEDED]
            return Waiting(WaitingFor.DEPENDENCIES, ", ".join(names))
        case Phase.ASIDE:
            return Waiting(WaitingFor.USER, "not selected")
        case Phase.READY | Phase.PENDING:
            return _in_the_queue(board, node)
        case Phase.HELD:
            return Waiting(WaitingFor.BUDGET, "money is short: escalated when the first pass is through")
        case Phase.NO_ROOM:
            return Waiting(WaitingFor.BUDGET, node.detail)
        case Phase.NO_MODEL:
            return Waiting(WaitingFor.MODEL, node.detail)
        case Phase.LANDING:
            return Waiting(WaitingFor.LANDING, "")
    return None


def _in_the_queue(board: Board, node: Node) -> Waiting:
    place = board.ready.busy(node.place)
    if isinstance(place, str):
        return Waiting(WaitingFor.MODEL, f"{place} is busy")
    if place is not None and place < ALONE:
        return Waiting(WaitingFor.SLOT, f"kept free for {board.nodes[-2 - place].id}, which is more urgent")
    if place == ALONE:
        return Waiting(WaitingFor.FILE, "the files it touches are unknown, so it runs alone")
    if place is not None:
        holder = board.nodes[board.ready.holder(place)]
        return Waiting(WaitingFor.FILE, f"{board.ready.pattern(place)} is being changed by {holder.id}")
    if board.ready.alone >= 0:
        return Waiting(WaitingFor.FILE, f"{board.nodes[board.ready.alone].id} runs alone")
    return Waiting(WaitingFor.SLOT, "")


def pause_of(board: Board, paused: str) -> Pause:
    """Why a run with nothing under way cannot go on."""
    if paused:
        return Pause(waiting_for=WaitingFor.USER, reason=paused)
    for phase, what in ((Phase.NO_ROOM, WaitingFor.BUDGET), (Phase.NO_MODEL, WaitingFor.MODEL)):
        nodes = board.in_phase(phase)
        if nodes:
            more = f" (and {len(nodes) - 1} more)" if len(nodes) > 1 else ""
            return Pause(waiting_for=what, reason=f"{nodes[0].id}: {nodes[0].detail}{more}")
    return Pause(waiting_for=WaitingFor.USER, reason=f"{board.unfinished} subtasks are not selected")
