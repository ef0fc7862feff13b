"""What an agent printed when nobody followed it any more goes to its log."""

import logging
from collections.abc import Mapping

from activities.agents.asking import agent_work
from activities.agents.base import Watch
from activities.agents.kinds import agent_for
from activities.records import Record
from activities.spool import Spool
from activities.workplace import Workplace

_log = logging.getLogger(__name__)


async def log_last_words(record: Record, place: Workplace, environ: Mapping[str, str]) -> None:
    """Without the secrets that it may hold where it stands now, and which then is deleted.

    Once the agent's processes are gone. Where the secrets are not known here, it stays,
    for its owner alone, as long as the record; no fault of this keeps anything else.
    """
    request = record.request
    named = {**request.agent.env, **request.step.env}
    is_known = all(name in environ for name, value in named.items() if value is None)
    if not is_known or not Spool(place.folder).stdout.exists():
        return
    try:
        agent, work = agent_for(request.agent, environ), agent_work(request, place)
        await agent.go_on(work, _NOBODY)
        agent.forget(work)
    except Exception as error:  # noqa: BLE001  # a log is worth no work that is to be kept
        _log.warning("the end of the log in %s could not be written: %s", place.folder, error)


_NOBODY = Watch(line=lambda _: None, began=lambda _, __: None, leave=lambda: False)
