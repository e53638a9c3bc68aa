"""Every change of the queue, a module a topic. Each function takes an open transaction or an engine."""
