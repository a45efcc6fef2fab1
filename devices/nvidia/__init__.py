"""NVIDIA GPUs: engines built by TensorRT, memory and time by CUDA, the machine by NVML."""
