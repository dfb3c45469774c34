"""The admin port: probes, metrics, status, and control by a person."""

from invalidator.admin.control import Busy, Control
from invalidator.admin.rates import Rates
from invalidator.admin.server import Admin
from invalidator.admin.status import DaemonView

__all__ = ["Admin", "Busy", "Control", "DaemonView", "Rates"]
