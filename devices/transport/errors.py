"""What can go wrong between here and a device, each said in one line.

DeviceUnavailable
├── Unreachable     stays so until somebody acts: an unknown host key, an unauthorised phone
└── LinkCut         may be over in a moment: a cable, a reboot, a time limit; worth another try
LatkitError
├── DeviceFull      the device has no room left
└── CommandFailed   the device was asked to do something and could not
"""

from devices.errors import DeviceUnavailable, LatkitError


class Unreachable(DeviceUnavailable):
    """A device cannot be reached until somebody does something about it."""


class LinkCut(DeviceUnavailable):
    """A device does not answer now; the same may work in a moment."""


class DeviceFull(LatkitError):
    """The device has no room for a file; nothing is left of it there."""


class CommandFailed(LatkitError):
    """A command on the device ended with an error."""
