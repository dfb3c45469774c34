"""The admin port: is it alive, is it ready, what does it do; and a person's hand on it."""

from invalidator.admin.control import Control, Reloaded
from invalidator.admin.rates import Rates
from invalidator.admin.server import Admin
from invalidator.admin.status import House

__all__ = ["Admin", "Control", "House", "Rates", "Reloaded"]
