"""Addresses that end in the name of a file, which may be any: with slashes, and with line ends.

Starlette's own `path` stops at a line end.
"""

from __future__ import annotations

from starlette.convertors import PathConvertor, register_url_convertor


class _AnyName(PathConvertor):
    regex = "(?s:.*)"


register_url_convertor("name", _AnyName())
NAME = "{name:name}"
"""The last part of such a route; its handler takes `name`."""
