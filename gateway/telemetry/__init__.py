"""What the gateway tells about itself: logs, and the audit in them; metrics and traces have their place beside them."""
