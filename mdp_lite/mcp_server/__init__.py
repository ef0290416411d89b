"""The tools of an assistant (MCP), on the service's engine; it needs the extra [mcp]."""
