"""What engines need, without a device: memory and kernels."""
