"""The gateway's own addresses under ``server.prefix``: one file each, each a reading of one row of the contract's table."""
