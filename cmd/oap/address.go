package main

import (
	"net"
	"net/url"
	"strconv"
)

// localURL returns the URL of a server on this machine.
func localURL(host string, port int) string {
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// redactDSN returns a database's name without its password.
func redactDSN(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.User == nil {
		return dsn
	}
	return u.Redacted()
}
