"""What is done to ONNX graphs before a runtime sees them."""
