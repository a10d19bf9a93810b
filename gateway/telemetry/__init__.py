"""What the gateway tells about itself: logs here; metrics, traces and audit have their place beside them."""
