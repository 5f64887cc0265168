"""Testing environments: suites as code, runs in a jail, facts, and evidence that verifies alone.

A suite is run by `run`, which starts `runner` (the one module that knows Inspect) inside `jail`;
what happened is kept as `facts`, and `bundle` packs and signs them. Never asks a hub.
"""
