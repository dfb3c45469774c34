# docs/edge.md explains it.
vcl 4.1;

import xkey;

backend default { .host = "orders"; .port = "8000"; }

acl invalidators { "10.0.0.0"/8; "172.16.0.0"/12; "192.168.0.0"/16; }  # the networks of containers

sub vcl_recv {
    if (req.method == "PURGE" || req.method == "BAN") {
        if (client.ip !~ invalidators) {
            return (synth(403, "Forbidden"));
        }
        if (req.method == "BAN") {
            if (req.http.x-ban-url) {
                ban("obj.http.x-url ~ " + req.http.x-ban-url);
            }
            if (req.http.x-ban-tags) {
                ban("obj.http.xkey ~ " + req.http.x-ban-tags);
            }
            return (synth(200, "Banned"));
        }
        if (req.http.xkey-purge) {
            set req.http.x-purged = xkey.purge(req.http.xkey-purge);
            return (synth(200, "Purged " + req.http.x-purged));
        }
        if (req.http.xkey-softpurge) {
            set req.http.x-purged = xkey.softpurge(req.http.xkey-softpurge);
            return (synth(200, "Purged softly " + req.http.x-purged));
        }
        return (purge);
    }
}

sub vcl_backend_response {
    set beresp.http.x-url = bereq.http.host + bereq.url;  # what bans of URLs look at
}

sub vcl_deliver {
    unset resp.http.x-url;
    unset resp.http.xkey;
}
