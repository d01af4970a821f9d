package expr

// Vars are the values that an expression can read. Each is a decoded JSON
// document: nil, bool, string, json.Number (or a Go number), []any or
// map[string]any. Missing roots read as null. Expressions never change them,
// but results may share parts of them: treat both as immutable.
type Vars struct {
	State   any    // root "state": the session's environment
	Result  any    // root "result": the output of the action just executed
	User    any    // root "user": user_context
	Session any    // root "session": {step, last_action, id}
	Args    any    // root "args": the arguments of the call
	Outputs any    // further names a template may use, as output_key of earlier steps
	Goal    string // root "goal"
}
