"""`doctor`: small checks, each of which looks at one thing and says how it is and how to mend it.

A check is a function from the `Patient` to findings; `@check` enters it in the list, in the order of the modules here.
"""

from importlib import import_module

from batchctl.doctor.base import Finding, Level, Patient, check, examine

__all__ = ["Finding", "Level", "Patient", "check", "examine"]

for _name in ("about_config", "about_store", "about_server", "about_schedule", "about_queue", "about_machine"):
    import_module(f"batchctl.doctor.{_name}")
