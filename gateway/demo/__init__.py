"""The demo's provider and app, and the configuration that puts the gateway between them. Loopback only; only ``cli/demo`` imports it."""
