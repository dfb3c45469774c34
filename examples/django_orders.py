"""Django: a backend for CACHES, cached functions, and invalidation after the commit.

python -m examples.django_orders runserver --noreload 8000
"""

import os
import sys
from collections import Counter

import django
from django.conf import settings
from django.core.cache import cache
from django.core.management import execute_from_command_line
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from invalidator.cache import SyncCache
from invalidator.cache.django import invalidate_on_commit

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
settings.configure(
    DEBUG=True,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("DATABASE", "orders.sqlite3"),
        }
    },
    CACHES={
        "default": {
            "BACKEND": "invalidator.cache.django.Backend",
            "LOCATION": REDIS,
            "KEY_PREFIX": "shop",
            "OPTIONS": {"stale_if_error": "1h"},
        }
    },
)
django.setup()
orders = SyncCache.from_url(REDIS, prefix="orders:")
LOADS: Counter[str] = Counter()


@orders.cached("single:{order_id}")
def get_total(order_id: str) -> int | None:
    LOADS["single"] += 1
    return rows("SELECT total FROM orders WHERE id = %s", order_id)


def count() -> int | None:
    LOADS["count"] += 1
    return rows("SELECT count(*) FROM orders")


def rows(query: str, *args: str) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(query, args)
        found = cursor.fetchone()
    return int(found[0]) if found else None


def order(request: HttpRequest, order_id: str) -> JsonResponse:
    if request.method == "PUT":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, total INTEGER)")
            cursor.execute("REPLACE INTO orders VALUES (%s, %s)", [order_id, request.GET["total"]])
            invalidate_on_commit(get_total.invalidate, order_id)
            invalidate_on_commit(cache.delete, "count")
            if "fail" in request.GET:
                raise ValueError("nothing is invalidated where nothing is committed")
    return JsonResponse({"total": get_total(order_id), "orders": cache.get_or_set("count", count)})


def stats(_: HttpRequest) -> JsonResponse:
    return JsonResponse({"loads": LOADS})


urlpatterns = [path("orders/<order_id>", order), path("stats", stats)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
