"""Whose requests take turns as one: those of one API key, or without keys of one address."""

from weakref import WeakValueDictionary

from fastapi import Request

from mdp_lite.batcher.turns import Group, Share


class Users:
    """The users who have requests now. Fifty requests of one have the turns of one."""

    def __init__(self) -> None:
        self._groups: WeakValueDictionary[str, Group] = WeakValueDictionary()

    def open_share(self, request: Request) -> Share:
        """The share of a request, in the group of its user."""
        address = request.client.host if request.client else ""
        name = request.scope["state"].get("owner") or address
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group()
        return Share(group)
