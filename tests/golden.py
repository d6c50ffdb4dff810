"""The golden vectors of the wire (fleet-protocol 1.6) and what each of them says."""

from __future__ import annotations

from module_gateway.protocol import external, internal
from module_gateway.protocol.identity import Device

BUTTON = Device.of(1000, 0, "left_button", "button1", 1)
SESSION = "Ab3dE5gH"

_DEVICE = "1b08e8071a0b6c6566745f627574746f6e2207627574746f6e312801"
_SESSION = "0a084162336445356748"

CLIENT_FRAMES = {
    "connect": (
        f"1f0000000a1d0a{_DEVICE}",
        internal.DeviceConnect(BUTTON),
    ),
    "status": (
        f"3300000012310a{_DEVICE}12127b2270726573736564223a2066616c73657d",
        internal.DeviceStatus(BUTTON, b'{"pressed": false}'),
    ),
}

SERVER_FRAMES = {
    "connect_ok": (
        f"1f0000000a1d12{_DEVICE}",
        internal.DeviceConnectResponse(BUTTON, internal.ConnectResponseType.OK),
    ),
    "connect_already_connected": (
        f"210000000a1f080112{_DEVICE}",
        internal.DeviceConnectResponse(BUTTON, internal.ConnectResponseType.ALREADY_CONNECTED),
    ),
    "command": (
        f"31000000122f0a{_DEVICE}12107b226c69745f7570223a20747275657d",
        internal.DeviceCommand(BUTTON, b'{"lit_up": true}'),
    ),
    "command_empty": (
        f"1f000000121d0a{_DEVICE}",
        internal.DeviceCommand(BUTTON, b""),
    ),
}

GATEWAY_PAYLOADS = {
    "connect": (
        f"0a43{_SESSION}12096272696e676175746f1a0f7669727475616c5f76656869636c6522{_DEVICE}",
        external.Connect(SESSION, "bringauto", "virtual_vehicle", (BUTTON,)),
    ),
    "status_connecting": (
        (
            f"124e{_SESSION}180122310a{_DEVICE}12127b2270726573736564223a2066616c73657d"
            "2a0d44656661756c74206572726f72"
        ),
        external.Status(
            SESSION,
            external.DeviceState.CONNECTING,
            1,
            BUTTON,
            b'{"pressed": false}',
            b"Default error",
        ),
    ),
    "status_running": (
        f"1240{_SESSION}1001180222300a{_DEVICE}12117b2270726573736564223a20747275657d",
        external.Status(SESSION, external.DeviceState.RUNNING, 2, BUTTON, b'{"pressed": true}'),
    ),
    "command_response": (
        f"1a0a{_SESSION}",
        external.CommandResponse(SESSION, external.CommandResponseType.OK, 0),
    ),
}

EXTERNAL_SERVER_PAYLOADS = {
    "connect_response": (
        f"0a0a{_SESSION}",
        external.ConnectResponse(SESSION, external.ConnectResponseType.OK),
    ),
    "status_response": (
        f"120c{_SESSION}1801",
        external.StatusResponse(SESSION, 0, 1),
    ),
    "command": (
        f"1a27{_SESSION}1a1b0a1908e8071a0b6c6566745f627574746f6e2207627574746f6e31",
        external.Command(SESSION, 0, Device.of(1000, 0, "left_button", "button1"), b""),
    ),
}
