"""Programs that are started again when they end."""

import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Program:
    """One that is started again when it ends; `name` is that of its pid file and log."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    zombies: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    """Earlier ones that were stopped and have a successor."""
    is_gone: bool = False
    """Whether it is not to be started again."""

    def start(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        pids = self.folder / "pids"
        pids.mkdir(exist_ok=True)
        partial = pids / f".{self.name}"
        partial.write_text(str(self.process.pid))
        partial.rename(pids / self.name)

    def succeed(self) -> None:
        """Start another one beside it."""
        if self.process:
            self.zombies.append(self.process)
        self.start()

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def end(self, seconds: float = 10) -> None:
        self.is_gone = True
        for process in [*self.zombies, *([self.process] if self.process else [])]:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
