package session

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/oap-runtime/oap/expr"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// merge returns the environment after an action's output (C-08): by its
// postconditions, else at its result path, else under the call's output key,
// else merged member by member when the output is an object, else under the
// action's name. The output is always at last_result too. v.State is the
// environment before and is not changed.
func merge(ctx context.Context, a *manifest.Action, outputKey string, v expr.Vars) (map[string]any, error) {
	env, _ := v.State.(map[string]any)
	switch {
	case len(a.Postconditions) > 0:
		for _, s := range a.Postconditions {
			next, err := s.Apply(ctx, v)
			if err != nil {
				return nil, fault.Wrap(err, fault.PostconditionError, "the action took effect, but its postcondition %q failed: %v", s.Source(), err)
			}
			m, ok := next.(map[string]any)
			if !ok {
				return nil, fault.New(fault.PostconditionError, "the action took effect, but its postcondition %q replaced the whole state", s.Source())
			}
			env, v.State = m, next
		}
	case len(a.ResultPath) > 0:
		value, err := pick(v.Result, a.ResultSelect)
		if err != nil {
			return nil, err
		}
		env = put(env, a.ResultPath, value)
	case outputKey != "":
		env = put(env, []string{outputKey}, v.Result)
	default:
		if m, ok := v.Result.(map[string]any); ok {
			env = deepMerge(env, m)
		} else {
			env = put(env, []string{a.Name}, v.Result)
		}
	}
	return put(env, []string{"last_result"}, v.Result), nil
}

func pick(v any, path []string) (any, error) {
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, fault.New(fault.PostconditionError, "the action took effect, but its output has no %q to keep", strings.Join(path, "."))
		}
		if v, ok = m[name]; !ok {
			return nil, fault.New(fault.PostconditionError, "the action took effect, but its output has no %q to keep", strings.Join(path, "."))
		}
	}
	return v, nil
}

// put returns a copy of m with value at path, sharing what did not change.
// Anything on the way that is not an object gives way to one.
func put(m map[string]any, path []string, value any) map[string]any {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]any{}
	}
	if len(path) == 1 {
		out[path[0]] = value
		return out
	}
	child, _ := out[path[0]].(map[string]any)
	out[path[0]] = put(child, path[1:], value)
	return out
}

func deepMerge(into, from map[string]any) map[string]any {
	out := maps.Clone(into)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range from {
		fm, isObject := v.(map[string]any)
		im, wasObject := out[k].(map[string]any)
		if isObject && wasObject {
			out[k] = deepMerge(im, fm)
		} else {
			out[k] = v
		}
	}
	return out
}

// checkState validates an environment against the manifest's state schema.
func checkState(m *manifest.Manifest, env map[string]any, prefix string) error {
	if m.StateSchema == nil {
		return nil
	}
	err := m.StateSchema.Validate(encode(env), prefix)
	var f *fault.Error
	if err == nil || !errors.As(err, &f) {
		return err
	}
	return f
}

func escapePointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}
