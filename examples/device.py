"""A device in forty lines: connects to a gateway, sends a status per second, prints commands.

    .venv/bin/python examples/device.py [HOST [PORT]]

It needs nothing but a socket and the messages of `module_gateway.protocol`.
"""

import itertools
import json
import socket
import sys
import time

try:
    from module_gateway.protocol.framing import FrameDecoder
    from module_gateway.protocol.identity import Device
    from module_gateway.protocol.internal import (
        ConnectResponseType,
        DeviceCommand,
        DeviceConnectResponse,
        decode_server_message,
        encode_connect,
        encode_status,
    )
except ModuleNotFoundError as missing:
    sys.exit(
        f"{missing.name} is not installed for this Python. Type: .venv/bin/python {sys.argv[0]}"
    )

ServerMessage = DeviceConnectResponse | DeviceCommand
DEVICE = Device.of(module=1001, device_type=0, role="example_button", name="my first device")


def receive(gateway: socket.socket, decoder: FrameDecoder) -> ServerMessage:
    """The gateway's next message. Frames may arrive in pieces."""
    while (frame := decoder.next_frame()) is None:
        chunk = gateway.recv(4096)
        if not chunk:
            sys.exit("the gateway closed the connection")
        decoder.receive(chunk)
    return decode_server_message(frame)


def main(host: str = "127.0.0.1", port: str = "8888") -> None:
    """Connect, then one status and one command per second."""
    decoder = FrameDecoder()
    with socket.create_connection((host, int(port)), timeout=5) as gateway:
        gateway.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gateway.sendall(encode_connect(DEVICE))
        answer = receive(gateway, decoder)
        if answer != DeviceConnectResponse(DEVICE, ConnectResponseType.OK):
            sys.exit(f"refused: {answer}")
        for number in itertools.count(1):
            status = {"pressed": number % 2 == 0, "n": number}
            gateway.sendall(encode_status(DEVICE, json.dumps(status).encode()))
            answer = receive(gateway, decoder)
            if isinstance(answer, DeviceCommand):
                print(status, "->", answer.command.decode(), flush=True)
            time.sleep(1)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"no gateway there: {error.strerror or error}. Is one running? Type: make run")
    except (TypeError, ValueError):
        sys.exit(f"usage: {sys.argv[0]} [HOST [PORT]]")
    except KeyboardInterrupt:
        print("stopped")
