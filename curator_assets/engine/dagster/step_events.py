"""The steps of a refresh in the log of its run: events of a type by which the UI filters.

`type:ENGINE_EVENT` in the filter above the log shows the steps alone, and the chart of the run has
a mark where each begins and ends.
"""

import logging
from collections.abc import Iterable

import dagster as dg

from curator_assets.control_characters import escaped_lines
from curator_assets.engine.dagster.private_names import EngineEventData
from curator_assets.engine.steps import Step, all_ended
from curator_assets.masking import masked


class StepEvents:
    """Tells of the steps in the log of a run.

    Args:
        context: of the op that does all steps.
        op: its name.
    """

    def __init__(self, context: dg.OpExecutionContext, op: str) -> None:
        self._context, self._op = context, op

    def passed(self, line: str) -> None:
        """There is nothing to do in a step."""
        self._tell(line, EngineEventData())

    def begun(self, step: Step, line: str) -> None:
        """A step begins."""
        self._tell(line, EngineEventData(marker_start=step.title))

    def ended(self, step: Step, line: str) -> None:
        """A step is over."""
        self._tell(line, EngineEventData(marker_end=step.title))

    def all_ended(self, steps: Iterable[Step]) -> None:
        """All steps are over: a table of what each made and took."""
        steps = sorted(steps, key=lambda step: step.number)
        rows = [
            dg.TableRecord(
                {
                    "step": step.number,
                    "asset": step.stage.name,
                    "made": step.n_made,
                    "fresh": step.n_fresh,
                    "failed": step.n_failed,
                    "lacking what failed": step.n_lacking,
                    "seconds": round(step.seconds, 1),
                }
            )
            for step in steps
        ]
        metadata = {"steps": dg.MetadataValue.table(rows)} if rows else {}
        self._tell(all_ended(steps), EngineEventData(metadata=metadata))

    def _tell(self, line: str, data: EngineEventData) -> None:
        line = escaped_lines(masked(line))
        event = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.ENGINE_EVENT.value,
            job_name=self._context.job_name,
            step_key=self._op,
            message=line,
            event_specific_data=data,
        )
        self._context.log.log_dagster_event(logging.INFO, line, event)
