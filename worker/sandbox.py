"""The sandbox that workflow code runs in: what is not passed through on purpose is an error."""

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

PASSED_THROUGH = ("branchwork", "pydantic", "pydantic_core", "jinja2", "markupsafe")
"""Pure modules: reloading them for every run would cost half a second each time."""


def sandboxed() -> SandboxedWorkflowRunner:
    return SandboxedWorkflowRunner(
        SandboxRestrictions.default.with_passthrough_modules(
            *PASSED_THROUGH
        ).with_import_notification_policy(
            SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
            | SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
        )
    )
