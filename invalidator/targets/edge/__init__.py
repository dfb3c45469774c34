"""Caches in front of the services: Varnish, Fastly, Cloudflare, or anything that takes a POST."""
