// Package arch holds the tests that keep the shape of the module: its import
// graph, the owners of its dependencies, and its package documentation.
package arch
