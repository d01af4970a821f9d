package planner_test

import (
	"fmt"

	"github.com/oap-runtime/oap/planner"
)

func ExampleDecode() {
	answer := "Sure, first the data:\n```json\n" +
		`[{"action": "query_database", "arguments": {"sql": "SELECT 1"}, "output_key": "rows"},
		  {"action": "send_email", "arguments": {"body": "{{rows}}"}}]` + "\n```"
	d, err := planner.Decode(answer, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range d.Calls {
		fmt.Printf("%s %s after %v\n", c.Action, c.Args, c.After)
	}
	fmt.Println("repaired:", d.Repaired)
	// Output:
	// query_database {"sql":"SELECT 1"} after []
	// send_email {"body":"{{rows}}"} after [0]
	// repaired: fence,prose
}
