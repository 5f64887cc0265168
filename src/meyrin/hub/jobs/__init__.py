"""Requests and their jobs: kept, admitted, ended; states, dependencies, output, files."""
