"""aiohttp in front: the listener, the one entry, an endpoint a file, pages. It answers callers; what to answer is decided elsewhere.

Neighbours: ``access`` decides, ``session`` knows who it is, ``proxy`` takes the bytes, ``oidc`` speaks to the provider.
"""
