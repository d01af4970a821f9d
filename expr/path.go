package expr

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// listMax bounds a list that an append or a + makes; a longer one is a size
// error.
const listMax = 100_000

// A key is one step of a path into the state: a field name or, when name is
// nil, an index into a list.
type key struct {
	name  *string
	index int
}

// update returns a copy of v in which the value at path is replaced by what
// change makes of it. Only the containers along the path are copied, so v and
// everything it holds stay as they are. Objects that are missing are created.
func update(v any, at string, path []key, change func(old any, at string) (any, error)) (any, error) {
	if len(path) == 0 {
		return change(v, at)
	}
	step := path[0]
	next := at + step.String()
	if step.name != nil {
		object, ok := v.(map[string]any)
		if !ok && v != nil {
			return nil, evalErrorf(ReasonPath, "assign to a field of an object", "%s is %s, so %s cannot be written", at, kind(v), next)
		}
		child, err := update(object[*step.name], next, path[1:], change)
		if err != nil {
			return nil, err
		}
		if object = maps.Clone(object); object == nil {
			object = map[string]any{}
		}
		object[*step.name] = child
		return object, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, evalErrorf(ReasonPath, "use append to add to a list", "%s is %s, so %s cannot be written", at, kind(v), next)
	}
	i := step.index
	if i < 0 {
		i += len(list)
	}
	if i < 0 || i >= len(list) {
		return nil, evalErrorf(ReasonPath, "use append to add to a list", "%s has %d elements, so %s cannot be written", at, len(list), next)
	}
	child, err := update(list[i], next, path[1:], change)
	if err != nil {
		return nil, err
	}
	list = slices.Clone(list)
	list[i] = child
	return list, nil
}

// String writes the key as it follows a path.
func (k key) String() string {
	switch {
	case k.name == nil:
		return "[" + strconv.Itoa(k.index) + "]"
	case *k.name != "" && wordEnd(*k.name) == len(*k.name) && isWordStart((*k.name)[0]):
		return "." + *k.name
	}
	return "['" + clip(strings.ReplaceAll(*k.name, "'", `\'`), valueShownMax) + "']"
}

// appended returns a copy of the list old with v at its end; a missing list is
// created.
func appended(old any, at string, v any) (any, error) {
	list, ok := old.([]any)
	if !ok && old != nil {
		return nil, evalErrorf(ReasonType, "append to a list, or assign with =", "%s is %s, not a list", at, kind(old))
	}
	if len(list) >= listMax {
		return nil, evalErrorf(ReasonSize, "keep bulk data in a file", "%s already has %d elements, the most a list can have", at, len(list))
	}
	grown := make([]any, len(list), len(list)+1)
	copy(grown, list)
	return append(grown, v), nil
}
