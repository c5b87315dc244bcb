"""A plan without a model: the facts of a survey, grouped into subtasks that are each small and proven."""

from orchestrator.core.offline.drafting import NothingToImprove, plan_offline
from orchestrator.core.offline.goals import Group, NeedsModel, groups_of

__all__ = ["Group", "NeedsModel", "NothingToImprove", "groups_of", "plan_offline"]
