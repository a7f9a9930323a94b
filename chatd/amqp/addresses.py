"""The addresses of a host's name, of which some may take connections and say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from attrs import define, field
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import implementer


@define(eq=False)
class Addresses:
    """Where the connections to one host failed after they were made. `HostnameEndpoint` takes the
    first address that takes a connection, and knows nothing of what comes then."""

    #: Whether the newest attempt failed at one of them, and another one has not failed yet.
    more: bool = field(default=False, init=False)
    _all: set[tuple[str, int]] = field(factory=set, init=False)
    #: The oldest failure first.
    _failed: dict[tuple[str, int], None] = field(factory=dict, init=False)

    def failed(self, address: IAddress) -> None:
        """What is at ``address`` does not serve: the others are to be tried before it."""
        where = _where(address)
        self._failed.pop(where, None)
        self._failed[where] = None
        self.more = not self._all <= self._failed.keys()

    def sorted(self, addresses: Sequence[IAddress]) -> list[IAddress]:
        """All that the name has now, in the order in which to try them. Others are forgotten."""
        self.more, self._all = False, {_where(address) for address in addresses}
        self._failed = {where: None for where in self._failed if where in self._all}
        order = {where: number for number, where in enumerate(self._failed)}
        return sorted(addresses, key=lambda address: order.get(_where(address), -1))


def _where(address: IAddress) -> tuple[str, int]:
    given = cast(Any, address)  # IPv4Address or IPv6Address
    return given.host, given.port


@implementer(IResolutionReceiver)
@define(eq=False)
class _Sorting:
    """Passes addresses on to ``receiver`` once all are known."""

    addresses: Addresses
    receiver: Any
    _found: list[IAddress] = field(factory=list, init=False)

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self.receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        self._found.append(address)

    def resolutionComplete(self) -> None:
        for address in self.addresses.sorted(self._found):
            self.receiver.addressResolved(address)
        self.receiver.resolutionComplete()


@implementer(IHostnameResolver)
@define(eq=False)
class _Resolver:
    addresses: Addresses
    resolver: Any

    def resolveHostName(self, resolutionReceiver: Any, *args: Any, **more: Any) -> IHostResolution:
        receiver = _Sorting(self.addresses, resolutionReceiver)
        return cast(IHostResolution, self.resolver.resolveHostName(receiver, *args, **more))


@implementer(IReactorPluggableNameResolver)
class SortingReactor:
    """``reactor``, but names have their addresses in the order of ``addresses``."""

    def __init__(self, reactor: Any, addresses: Addresses) -> None:
        self._reactor = reactor
        self._addresses = addresses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    @property
    def nameResolver(self) -> IHostnameResolver:
        return _Resolver(self._addresses, self._reactor.nameResolver)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        return cast(IHostnameResolver, self._reactor.installNameResolver(resolver))
