"""Messages to people: written in the commit of what they tell of, sent from the outbox."""

from batchctl.notify.announcer import ConfigAnnouncer
from batchctl.notify.courier import Courier
from batchctl.notify.sender import Sending, send_due

__all__ = ["ConfigAnnouncer", "Courier", "Sending", "send_due"]
