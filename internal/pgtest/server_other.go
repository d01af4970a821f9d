//go:build !unix

package pgtest

// start is for systems with Unix sockets. Elsewhere tests use the server that
// OAP_TEST_POSTGRES names.
func start() (dsn string, err error) { return "", errNoBinaries }
