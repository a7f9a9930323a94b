"""Reads the settings again while the node runs (SIGHUP)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from attrs import define, evolve, field
from twisted.logger import Logger

from chatd.config.settings import Config
from chatd.config.sources import Problem
from chatd.config.table import OPTIONS


def renewed(old: Config, new: Config) -> tuple[Config, list[str], list[str]]:
    """Combine ``old`` and ``new``. Returns the configuration that counts from now on, the options
    that changed and take effect, and the options that changed and need a restart."""
    differ = [o for o in OPTIONS if getattr(old, o.attribute) != getattr(new, o.attribute)]
    if old.trust_unix != new.trust_unix:
        differ += [o for o in OPTIONS if o.name == "trusted-proxy" and o not in differ]
    live = [option for option in differ if option.live]
    if old.auth != new.auth:
        # token mode goes on with the same keys until the restart
        live = [option for option in live if option.name not in ("token-key", "audience", "issuer")]
    fields = {option.attribute: getattr(new, option.attribute) for option in live}
    if "trusted_proxies" in fields:
        fields["trust_unix"] = new.trust_unix
    rest = [option.name for option in differ if option not in live]
    return evolve(old, **fields), [option.name for option in live], rest


def _why(line: str) -> str:
    """What is wrong, without the option, which has its name and perhaps the place where it was
    given."""
    return line.partition(": ")[2]


@define(eq=False)
class Settings:
    """The present configuration. ``read`` reads all sources again. Each of ``parts`` is called with
    the new configuration, and returns a line for each value that it could not use."""

    config: Config
    read: Callable[[], Config]
    parts: list[Callable[[Config], Iterable[str]]] = field(factory=list)
    _log = Logger()

    def reload(self) -> Iterator[str]:
        """Read and apply the settings. Yields a line for each change that could not be applied."""
        problem = ""
        try:
            new = self.read()
        except Problem as e:
            problem = str(e)
            yield problem
            new = self.config
        self.config, changed, rest = renewed(self.config, new)
        for part in self.parts:
            # which reads the same files, and may find the same
            yield from (line for line in part(self.config) if _why(line) != _why(problem))
        if changed:
            self._log.info("Changed: {options}", options=", ".join(changed))
        if rest:
            yield f"{', '.join(rest)}: changed, but needs a restart"
