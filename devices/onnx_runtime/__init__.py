"""CPUs through ONNX Runtime: sessions, traces, integers."""
