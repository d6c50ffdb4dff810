"""The HTTP API and the page: what the control plane knows, and commands for devices.

Every error is JSON: `{"error": "<one sentence>"}`. OpenAPI stands at /openapi.json.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from module_gateway.control_plane.decode import base64_command, json_command
from module_gateway.control_plane.feed import Feed, Listener, TooManyListenersError
from module_gateway.control_plane.guard import Guard
from module_gateway.control_plane.records import VehicleName
from module_gateway.control_plane.server import (
    CommandRefusedError,
    ControlPlane,
    UnknownDeviceError,
)
from module_gateway.control_plane.store import StoreFullError
from module_gateway.control_plane.views import (
    CommandView,
    DeviceView,
    StatusView,
    VehicleDetail,
    VehicleView,
    view_command,
    view_device,
    view_status,
    view_vehicle,
)
from module_gateway.protocol.errors import StoreError
from module_gateway.protocol.identity import Identity

KEEP_ALIVE_S: Final = 15.0
"""An idle event stream says something so often, so that both ends notice a dead connection."""

MAX_VALID_S: Final = 3600.0
MAX_HISTORY: Final = 1_000

DEVICE_PATH: Final = "/vehicles/{company}/{vehicle}/devices/{module}/{device_type}/{role:path}"

CONTENT_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Name = Annotated[str, Path(pattern="^[a-z0-9_]+$", max_length=256)]
Module = Annotated[int, Path(alias="module", ge=-(2**31), lt=2**31)]
DeviceType = Annotated[int, Path(alias="device_type", ge=0, lt=2**32)]
Role = Annotated[str, Path(alias="role", max_length=256)]


class ErrorView(BaseModel):
    """Why a request was not served."""

    error: str


class PostedCommand(BaseModel):
    """`command` is any JSON value, or `base64` any bytes: exactly one of them."""

    model_config = ConfigDict(extra="forbid")

    command: Any = None
    base64: str | None = None
    valid_for_s: float | None = Field(default=None, gt=0, le=MAX_VALID_S)
    """How long it may wait for its device; nothing stale moves a vehicle."""

    @model_validator(mode="after")
    def _is_one_command(self) -> PostedCommand:
        if ("command" in self.model_fields_set) == (self.base64 is not None):
            raise ValueError('give either "command" (any JSON) or "base64" (text)')
        return self

    def to_bytes(self) -> bytes:
        """What goes to the device.

        Raises:
            ValueError: no base64, or a JSON value that cannot be written.
        """
        if self.base64 is not None:
            return base64_command(self.base64)
        return json_command(self.command)


def create_app(control_plane: ControlPlane, *, bound_host: str = "127.0.0.1") -> FastAPI:
    """The web application on `control_plane`, which somebody else runs."""
    settings = control_plane.settings
    app = FastAPI(
        title="Module Gateway control plane",
        version="1",
        docs_url=None,  # the interactive pages load scripts from elsewhere
        redoc_url=None,
        responses={404: {"model": ErrorView}, 422: {"model": ErrorView}},
    )
    app.include_router(_vehicle_routes(control_plane), prefix="/api/v1")
    # A role may hold slashes: the longer paths must be looked at first.
    app.include_router(_command_routes(control_plane), prefix="/api/v1")
    app.include_router(_device_routes(control_plane), prefix="/api/v1")
    app.include_router(_event_routes(control_plane), prefix="/api/v1")
    app.include_router(_page_routes(control_plane))
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(StoreError, _answer_store_error)
    app.add_middleware(
        Guard,
        allowed_hosts={*settings.allowed_hosts, bound_host},
        body_bytes=settings.body_bytes,
    )
    return app


def _vehicle_routes(control_plane: ControlPlane) -> APIRouter:
    router = APIRouter(tags=["vehicles"])
    store, decoder = control_plane.store, control_plane.decoder

    @router.get("/vehicles")
    async def list_vehicles() -> list[VehicleView]:
        """All vehicles that were ever heard, by name."""
        return [view_vehicle(record) for record in await store.vehicles()]

    @router.get("/vehicles/{company}/{vehicle}")
    async def show_vehicle(company: Name, vehicle: Name) -> VehicleDetail:
        """One vehicle and its devices with their last statuses."""
        name = VehicleName(company, vehicle)
        record = await store.vehicle(name)
        if record is None:
            raise HTTPException(404, f"no vehicle {name} was ever heard")
        devices = [view_device(device, decoder) for device in await store.devices(name)]
        return VehicleDetail(**view_vehicle(record).model_dump(), devices=devices)

    @router.get("/commands/{command_id}")
    async def show_command(command_id: str) -> CommandView:
        """How far a posted command has come."""
        record = await store.command(command_id)
        if record is None:
            raise HTTPException(404, f"no command {command_id[:64]!r} is remembered")
        return view_command(record, decoder)

    return router


class Target(NamedTuple):
    """The device that a path names."""

    vehicle: VehicleName
    identity: Identity


async def _target(
    company: Name, vehicle: Name, module: Module, device_type: DeviceType, role: Role
) -> Target:
    return Target(VehicleName(company, vehicle), Identity(module, device_type, role))


TargetPath = Annotated[Target, Depends(_target)]


def _command_routes(control_plane: ControlPlane) -> APIRouter:
    router = APIRouter(prefix=DEVICE_PATH, tags=["devices"])
    store, decoder = control_plane.store, control_plane.decoder

    @router.post(
        "/commands",
        status_code=202,
        responses={429: {"model": ErrorView}, 413: {"model": ErrorView}},
    )
    async def post_command(
        target: TargetPath, posted: PostedCommand, response: Response
    ) -> CommandView:
        """Queue a command; it leaves as soon as its device is connected. Ask for it by its id."""
        valid_for_s = posted.valid_for_s or control_plane.settings.command_valid_ms / 1000
        try:
            command = posted.to_bytes()
        except ValueError as error:
            raise HTTPException(422, f"the command cannot be used: {error}") from error
        try:
            record = await control_plane.post_command(*target, command, valid_for_s)
        except UnknownDeviceError as error:
            raise HTTPException(404, str(error)) from error
        except CommandRefusedError as error:
            raise HTTPException(422, str(error)) from error
        except StoreFullError as error:
            raise HTTPException(429, str(error)) from error
        response.headers["Location"] = f"/api/v1/commands/{record.command_id}"
        return view_command(record, decoder)

    @router.get("/commands/{command_id}")
    async def show_device_command(target: TargetPath, command_id: str) -> CommandView:
        """How far a command of this device has come; /commands/{command_id} says the same."""
        record = await store.command(command_id)
        if record is None or (record.vehicle, record.identity) != target:
            raise HTTPException(404, f"this device has no command {command_id[:64]!r}")
        return view_command(record, decoder)

    return router


def _device_routes(control_plane: ControlPlane) -> APIRouter:
    router = APIRouter(prefix=DEVICE_PATH, tags=["devices"])
    store, decoder = control_plane.store, control_plane.decoder

    @router.get("/history")
    async def list_history(
        target: TargetPath,
        limit: Annotated[int, Query(ge=1, le=MAX_HISTORY)] = 100,
        since: Annotated[int | None, Query(ge=0)] = None,
    ) -> list[StatusView]:
        """Remembered statuses, oldest first, replayed ones at their place.

        The first `limit` received at or after `since` (Unix milliseconds), or the newest `limit`.
        """
        await _device(control_plane, *target)
        records = await store.history(*target, since, limit)
        return [view_status(record, target.identity.module, decoder) for record in records]

    @router.get("")
    async def show_device(target: TargetPath) -> DeviceView:
        """One device with its last status and its last error."""
        return await _device(control_plane, *target)

    return router


def _event_routes(control_plane: ControlPlane) -> APIRouter:
    router = APIRouter(tags=["events"])

    @router.get("/events", response_class=StreamingResponse)
    async def listen() -> StreamingResponse:
        """Server-sent events from now on: session, status, repeat, device, command.

        A listener that does not keep up gets a last event `dropped`; `closed` announces our end.
        """
        try:
            listener = control_plane.feed.listen()
        except TooManyListenersError as error:
            raise HTTPException(503, str(error)) from error
        return EventStream(control_plane.feed, listener)

    return router


def _page_routes(control_plane: ControlPlane) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    web = files("module_gateway.control_plane.web")
    page = (web / "index.html").read_text(encoding="utf-8")
    script = (web / "page.js").read_text(encoding="utf-8")
    style = (web / "page.css").read_text(encoding="utf-8")
    icon = (web / "icon.svg").read_text(encoding="utf-8")

    @router.get("/")
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_POLICY})

    @router.get("/page.js")
    async def show_script() -> HTMLResponse:
        return HTMLResponse(script, media_type="text/javascript")

    @router.get("/page.css")
    async def show_style() -> HTMLResponse:
        return HTMLResponse(style, media_type="text/css")

    @router.get("/icon.svg")
    async def show_icon() -> HTMLResponse:
        return HTMLResponse(icon, media_type="image/svg+xml")

    @router.get("/healthz")
    async def show_health() -> dict[str, bool]:
        return {"alive": True, "broker_connected": control_plane.is_link_up}

    return router


async def _device(control_plane: ControlPlane, name: VehicleName, identity: Identity) -> DeviceView:
    record = await control_plane.store.device(name, identity)
    if record is None:
        raise HTTPException(404, f"vehicle {name} never had a device {str(identity)[:64]!r}")
    return view_device(record, control_plane.decoder)


class EventStream(StreamingResponse):
    """Server-sent events of one listener; however it ends, the listener has left the feed."""

    def __init__(self, feed: Feed, listener: Listener) -> None:
        super().__init__(
            _texts(listener),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )
        self._feed, self._listener = feed, listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the reader goes or the feed ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._listener)


async def _texts(listener: Listener) -> AsyncIterator[str]:
    """What goes over the wire; a comment now and then while there is nothing to say."""
    yield ": listening\n\n"
    while True:
        news = await listener.next(KEEP_ALIVE_S)
        if news is not None:
            yield f"event: {news.kind}\ndata: {news.content}\n\n"
        elif listener.is_ended:
            return
        else:
            yield ": nothing new\n\n"


async def _answer_http_error(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers) if error.headers else None
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers)


async def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    sentences = [_sentence(problem) for problem in error.errors()[:5]]
    return JSONResponse({"error": "; ".join(sentences)[:1000]}, 422)


def _sentence(problem: Mapping[str, Any]) -> str:
    """One of pydantic's findings for somebody who has typed a request by hand."""
    where = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "json_invalid":
            detail = problem.get("ctx", {}).get("error", "malformed")
            return f"the body is no JSON at character {problem['loc'][-1]}: {detail}"
        case "model_attributes_type" | "missing" if where == "body":
            return "the body must be a JSON object, sent with Content-Type: application/json"
        case "extra_forbidden":
            return f"{where}: no such key; known are {', '.join(PostedCommand.model_fields)}"
        case _:
            return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


async def _answer_store_error(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": f"the store does not answer: {error}"[:1000]}, 503)
