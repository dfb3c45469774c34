"""The Django middleware: a real Django answers with what its view has read."""

import subprocess
import sys

from tests.backends.redis_server import RedisServer

PROGRAM = """
import sys

import django
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import path

from invalidator.cache import Kind, Kinds, SyncCache
from invalidator.cache.http import cache_control

cache = SyncCache.from_url(sys.argv[1], kinds=Kinds(default=Kind(ttl="60s", jitter=0, early=0)))


@cache.cached("order:{number}", tags=["customer:7"])
def order(number: int) -> int:
    return number


def show(request, number):
    return HttpResponse(f"order {order(number)}")


def own(request):
    order(1)
    cache_control("no-store")
    return HttpResponse("own")


def cookie(request):
    response = show(request, 1)
    response.set_cookie("seen", "1")
    return response


def parts(request):
    order(1)
    return StreamingHttpResponse(iter(["a", "b"]))


urlpatterns = [
    path("orders/<int:number>", show),
    path("own", own),
    path("cookie", cookie),
    path("parts", parts),
]
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["testserver"],
    MIDDLEWARE=["invalidator.cache.http.DjangoCacheHeaders"],
    CACHE_HEADERS={"header": "xkey", "max_age": 0, "vary": ["Accept-Language"]},
)
django.setup()
client = Client()
first = client.get("/orders/1")
assert first.content == b"order 1"
parts_of = first["Cache-Control"].split(", ")
assert parts_of[:2] == ["public", "max-age=0"], parts_of
assert 50 <= int(parts_of[2].removeprefix("s-maxage=")) <= 60, parts_of
assert first["xkey"] == "customer:7 order:1"
assert first["Vary"] == "Accept-Language"
again = client.get("/orders/1", headers={"If-None-Match": first["ETag"]})
assert (again.status_code, again.content) == (304, b"")
assert client.get("/orders/2", headers={"If-None-Match": first["ETag"]}).status_code == 200
assert client.get("/own")["Cache-Control"] == "no-store"
assert client.get("/cookie")["Cache-Control"].startswith("private")
assert "ETag" not in client.get("/parts")
for_me = client.get("/orders/1", headers={"Authorization": "x"})
assert for_me["Cache-Control"] == "private, max-age=0"
assert "Cache-Control" not in client.post("/orders/1")
cache.close()
"""


def test_django_answers_with_what_its_views_read(server: RedisServer) -> None:
    words = [sys.executable, "-c", PROGRAM, server.url]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
