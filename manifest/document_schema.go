package manifest

import (
	_ "embed"
	"encoding/json"
	"slices"
)

//go:embed manifest.schema.json
var documentSchema []byte

// DocumentSchema returns the JSON Schema (2020-12) of manifests, for editors
// and other tools. Parse accepts nothing that it refuses, and checks more:
// references, expressions, schemas and credentials.
func DocumentSchema() json.RawMessage { return slices.Clone(documentSchema) }
