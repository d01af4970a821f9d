// Package manifest describes what an agent may do: it parses and checks the
// document that declares typed actions, and compares versions of it.
package manifest
