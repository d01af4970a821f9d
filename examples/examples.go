// Package examples holds complete agents to run, read and copy from: each with
// its manifest, a first request, and a script that stands in for a model, so
// that it runs without a key.
package examples

import "embed"

// FS holds one directory for each example.
//
//go:embed meetbot report triage approval
var FS embed.FS
