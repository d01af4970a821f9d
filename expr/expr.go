package expr

import "context"

// Vars are the values that an expression can read. Each is a decoded JSON
// document: nil, bool, string, json.Number, []any or map[string]any. Missing
// roots read as null. Expressions never change them.
type Vars struct {
	State   any    // root "state": the session's environment
	Result  any    // root "result": the output of the action just executed
	User    any    // root "user": user_context
	Session any    // root "session": {step, last_action, id}
	Args    any    // root "args": the arguments of the call
	Outputs any    // further names a template may use, as output_key of earlier steps
	Goal    string // root "goal"
}

// A Condition is a compiled boolean expression such as
// "state.intents[*].intent == 'schedule_meeting'".
type Condition struct{}

// A Statement is a compiled assignment or append, such as
// "state.emails = result.emails" or "state.meetings.append(result.event_id)".
type Statement struct{}

// A Template is a JSON value whose strings may hold "{{expr}}" placeholders or
// be a whole "$state.path" reference.
type Template struct{}

func CompileCondition(src string) (*Condition, error)               { panic("") }
func CompileStatement(src string) (*Statement, error)               { panic("") }
func CompileTemplate(v any) (*Template, error)                      { panic("") }
func (c *Condition) Eval(ctx context.Context, v Vars) (bool, error) { panic("") }
func (s *Statement) Apply(ctx context.Context, v Vars) (any, error) { panic("") }
func (t *Template) Render(ctx context.Context, v Vars) (any, error) { panic("") }
func (t *Template) Names() []string                                 { panic("") }
