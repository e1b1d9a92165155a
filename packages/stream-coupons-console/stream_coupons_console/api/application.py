"""The application of the API: its operations, and the document that describes them."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream_coupons.core.errors import StreamCouponsError
from stream_coupons_console.api.problems import refuse
from stream_coupons_console.api.routes import JSON, OPERATIONS, endpoint


async def openapi(_: Request) -> Response:
    """Return the OpenAPI document."""
    from stream_coupons_console.api.openapi import text  # here, for it reads the sources of the types

    return Response(text(), media_type=JSON)


def create_api() -> Starlette:
    """Return the application of the API; it needs the state of the console's."""
    routes = [Route(one.path, endpoint(one), methods=[one.method], name=one.handler.__name__) for one in OPERATIONS]
    return Starlette(
        routes=[*routes, Route("/openapi.json", openapi)],
        exception_handlers={HTTPException: refuse, StreamCouponsError: refuse},
    )
