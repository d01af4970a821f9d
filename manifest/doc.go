// Package manifest describes what an agent may do: it parses and checks the
// document that declares typed actions, and compares versions of it.
//
// [Parse] reads JSON and YAML into one tree with positions and either returns
// a [Manifest] in which everything is compiled and every reference leads
// somewhere, or one error that lists every problem with its place and remedy.
// [Manifest.Lint] adds what is allowed but should be looked at, and [Compare]
// tells whether a new version is an honest step from an old one.
//
// Documents, schemas and values may come from anybody: their size, depth and
// count, and the work of compiling and validating them, are bounded by
// constants beside the code that needs them. Nothing is loaded from files or
// the network, and a literal credential where one belongs is an error.
//
// Manifests and schemas are immutable and safe for concurrent use. The package
// performs no action and knows no secret: auth and headers stay references.
package manifest
