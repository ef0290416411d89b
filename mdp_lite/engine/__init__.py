"""How a UNet call runs (eager, compiled, CUDA graph, ahead of time), and what it costs."""
