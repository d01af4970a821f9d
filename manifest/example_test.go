package manifest_test

import (
	"encoding/json"
	"fmt"

	"github.com/oap-runtime/oap/manifest"
)

func ExampleParse() {
	m, err := manifest.Parse([]byte(`
name: Greeter
version: 1.0.0
actions:
  - type: invoke_api
    name: greet
    endpoint: https://api.example.com/greetings
    auth: Bearer ${GREETER_TOKEN}
    effect: keyed
    input_schema:
      type: object
      properties: {to: {type: string, format: email}}
      required: [to]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	greet, _ := m.Action("greet")
	fmt.Println(greet.HTTP.Method, greet.Effect, greet.Risk)
	fmt.Println(greet.Input.Validate(json.RawMessage(`{"to": "everybody"}`), "/args"))
	// Output:
	// POST keyed medium
	// common.validation: the value does not match its schema: /args/to: "everybody" is not a valid email (write "alice@example.com")
}

func ExampleParse_problems() {
	_, err := manifest.Parse([]byte("name: Greeter\nversion: 1.0.0\nactions:\n  - type: invoke_api\n    name: greet\n    endpont: https://api.example.com/\n"))
	fmt.Println(err)
	// Output:
	// agent.manifest_invalid: the manifest has 2 problems: /actions/0 (line 4): endpoint is missing (add "endpoint", an absolute URL); /actions/0/endpont (line 6): "endpont" is not a field (did you mean "endpoint"?)
}
