"""Recorded workloads: one shape for every log, its readers, and Meyrin's own export.

`model` is the shape, `read` the way in. A reader never decides what a replay does with a job: it
keeps what the log says, refuses what can't be true, and counts what it was told to skip.
"""
