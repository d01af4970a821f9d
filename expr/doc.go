// Package expr evaluates the conditions, assignments and templates that
// actions and graphs declare.
//
// Everything here is data in, data out: an expression reads the JSON values it
// is given and yields a JSON value. It cannot loop on its own, call out, read
// the clock or change what it reads, and its length, depth, work, time and
// results are bounded, so sources and data may come from anybody.
//
// # Expressions
//
// The roots are
//
//	state     the environment of the session
//	result    the output of the action just executed
//	user      the user context
//	session   {step, last_action, id}
//	args      the arguments of the call
//	goal      the goal, a string
//
// Any other name is looked up in the result, then in the state, then in the
// outputs of earlier steps; in a template in the outputs first. A root hides a
// field of the same name, which is still reached as result.user.
//
//	state.session.step            field; state['odd name'] for any other name
//	state.items[0]  [-1]          element, counted from the end when negative
//	state.items[*].id             of every element
//	== != < <= > >=               comparison
//	x in ['a', 'b']               membership in a list, or field of an object
//	and or not   && || !          "not a == b" is not (a == b), "!a == b" is (!a) == b
//	+ - * / %                     numbers; + also joins strings, and lists
//	c ? x : y
//	size(x)                       elements, fields or characters
//	has(state.a.b)                is there, even when it is null
//	x.contains(y)                 part of a string, or element of a list
//	x.startsWith(y) x.endsWith(y)
//	'a' "a" 1 2.5 true false null ['a', 1] {'name': x}
//
// A path that leads nowhere reads as null. Null has no order, so null >= 2 is
// false; it has no members, parts or elements and its size is 0; where true or
// false is needed it is false. Values of different kinds are never equal; to
// order them, or to compute with null, is an error.
//
// Where a comparison, "in", a predicate or true or false is wanted, [*] means
// any: state.items[*].done != true holds when one element differs, and
// not state.items[*].done != true when none does. Elsewhere it makes a list,
// one element for each, so size(state.items[*].id) counts them.
//
// Numbers are decimals: compared exactly, copied without rounding, and
// computed exactly, except that a division that does not come out even is
// rounded to the nearest float64.
//
// # Statements
//
//	state.path = expression
//	state.list.append(expression)
//
// Only paths below state are written. Objects and lists that are missing are
// created; a value that is there is never turned into another kind. The input
// is not changed: [Statement.Apply] returns a new state.
//
// # Templates
//
// See [CompileTemplate] for what the strings of a template may hold.
//
// # Errors
//
// What does not compile is a [*SyntaxError]; what cannot be evaluated with the
// values given is an [*EvalError] with a [Reason]. Both name the place and,
// where there is one, the remedy.
package expr
