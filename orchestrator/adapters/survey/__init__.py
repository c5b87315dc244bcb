"""A repository's facts at one commit, found without a model, each with the line that shows it."""

from orchestrator.adapters.survey.listing import SurveyFailed
from orchestrator.adapters.survey.surveying import survey

__all__ = ["SurveyFailed", "survey"]
