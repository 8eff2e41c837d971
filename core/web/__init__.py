"""The wall before all routes: hosts, origins, headers, cookies, proxies and access rules."""
