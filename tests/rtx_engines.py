"""Whether bytes are an engine, where no GPU could load it."""

from devices import InvalidFile
from devices.nvidia.tensorrt_build import Message, TensorRT, message_log


def check_engine(trt: TensorRT, content: bytes) -> None:
    """Check that TensorRT for RTX built an engine; needs no GPU.

    Raises:
        InvalidFile: It is no engine of this version.
    """
    messages: list[Message] = []
    runtime = trt.Runtime(message_log(trt, messages))
    _, diagnostics = runtime.get_engine_validity(content)
    if int(diagnostics) & int(trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE):
        raise InvalidFile("this is no engine of TensorRT for RTX: build it again")
