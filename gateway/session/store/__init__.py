"""Where sessions are kept: one protocol, two stores (Redis, memory), one way to open them. Nothing here can read what it keeps."""
