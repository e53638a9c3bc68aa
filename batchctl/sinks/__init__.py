"""`into`: results as rows of a table or lines of a file, stored together with the completion of their item."""

from batchctl.sinks.delivery import Delivery, Parcel, portions

__all__ = ["Delivery", "Parcel", "portions"]
