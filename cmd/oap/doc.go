// Command oap runs agents: it is the server, the client and the demonstration
// of the open action runtime in one binary.
//
// All flags, environment variables and files are read here and handed to the
// packages below as values. See oap --help.
package main
