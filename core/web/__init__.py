"""Web security and request handling: allowed hosts and origins, headers, cookies, proxies, access rules."""
