"""Settings read again while the node serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from attrs import define, evolve, field
from twisted.logger import Logger

from chatd.config.settings import Config
from chatd.config.sources import Problem
from chatd.config.table import OPTIONS


def renewed(old: Config, new: Config) -> tuple[Config, list[str], list[str]]:
    """``old`` with what may change without a restart taken from ``new``; the options that differ
    and count from now on; those that differ and do not."""
    differ = [o for o in OPTIONS if getattr(old, o.attribute) != getattr(new, o.attribute)]
    if old.trust_unix != new.trust_unix:
        differ += [o for o in OPTIONS if o.name == "trusted-proxy" and o not in differ]
    live = [option for option in differ if option.live]
    if old.auth != new.auth:
        # who checks tokens goes on to, with the same keys, until the restart
        live = [option for option in live if option.name not in ("token-key", "audience", "issuer")]
    fields = {option.attribute: getattr(new, option.attribute) for option in live}
    if "trusted_proxies" in fields:
        fields["trust_unix"] = new.trust_unix
    rest = [option.name for option in differ if option not in live]
    return evolve(old, **fields), [option.name for option in live], rest


@define(eq=False)
class Settings:
    """The present ``config``. ``read`` reads all sources again; each of ``parts`` is given the new
    configuration, and returns a line for each thing that it could not use."""

    config: Config
    read: Callable[[], Config]
    parts: list[Callable[[Config], Iterable[str]]] = field(factory=list)
    _log = Logger()

    def reload(self) -> Iterator[str]:
        """Have everything that can change do so. Yields a line for each thing that cannot."""
        try:
            new = self.read()
        except Problem as e:
            yield str(e)
            new = self.config
        self.config, changed, rest = renewed(self.config, new)
        for part in self.parts:
            yield from part(self.config)
        if changed:
            self._log.info("Changed: {options}", options=", ".join(changed))
        if rest:
            yield f"{', '.join(rest)}: changed, but needs a restart"
