"""A proxy that serves Atelier below a path, and another application everywhere else."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from tests.support.app_process import free_port
from tests.support.proxy_process import ProxyProcess, find_program

PATH = "/atelier"
OTHER = "another application"


class Way(StrEnum):
    """The program, and whether it removes the path before it passes a request on."""

    HAPROXY_REMOVES = "haproxy that removes the path"
    HAPROXY_KEEPS = "haproxy that keeps the path"
    NGINX_REMOVES = "nginx that removes the path"
    NGINX_KEEPS = "nginx that keeps the path"


_HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend web
  bind 127.0.0.1:{port}
  acl below path_beg {path}/
  acl below path {path}
  http-request return status 404 content-type text/plain string "{other}" if !below
  {remove}
  use_backend app
backend app
  server atelier {address}
"""
_HAPROXY_REMOVE = """http-request redirect location {path}/ if {{ path {path} }}
  http-request replace-path {path}(/.*) \\1"""
_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen 127.0.0.1:{port};
    location {location} {{
      proxy_pass http://{address}{remove};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
    location / {{ return 404 "{other}"; }}
  }}
}}
"""


class PathProxy(ProxyProcess):
    """`with PathProxy(way, folder, "127.0.0.1:8501") as proxy:` serves that app at `proxy.base_url`."""

    def __init__(self, way: Way, folder: Path, address: str) -> None:
        self.origin = f"http://127.0.0.1:{(port := free_port())}"
        removes = way in (Way.HAPROXY_REMOVES, Way.NGINX_REMOVES)
        haproxy = way in (Way.HAPROXY_REMOVES, Way.HAPROXY_KEEPS)
        values = {"port": port, "path": PATH, "other": OTHER, "address": address, "folder": folder}
        config = folder / "proxy.cfg"
        if haproxy:
            remove = _HAPROXY_REMOVE.format(path=PATH) if removes else ""
            config.write_text(_HAPROXY.format(**values, remove=remove))
            command = [find_program("haproxy"), "-db", "-f", str(config)]
        else:
            location, remove = (f"{PATH}/", "/") if removes else (PATH, "")
            config.write_text(_NGINX.format(**values, location=location, remove=remove))
            command = [find_program("nginx"), "-c", str(config), "-p", str(folder), "-e", "stderr"]
        super().__init__(command, self.origin + PATH, folder / "proxy.txt")
